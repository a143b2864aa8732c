{{ usage_by("cast(date_trunc('week', occurred_date_local) as date)", 'week_start_date') }}
