with

build_settings as (
    select * from {{ ref('stg_build_settings') }}
)

select
    run_id,
    run_at
from build_settings
