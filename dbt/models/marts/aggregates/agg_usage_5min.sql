{{ usage_by(minute_floor('occurred_at', 5), 'bucket_started_at') }}
