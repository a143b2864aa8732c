{{ usage_by("date_trunc('hour', occurred_at)", 'bucket_started_at') }}
