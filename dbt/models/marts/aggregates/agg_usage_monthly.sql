{{ usage_by("cast(date_trunc('month', occurred_date_local) as date)", 'month_start_date') }}
