{#- The day that a naive UTC instant lies in where a person is, who schedules by it. -#}
{% macro local_date(instant) -%}
    cast({{ local_instant(instant, reporting_time_zone()) }} as date)
{%- endmacro %}

{#- The hour of that day, 0 to 23. -#}
{% macro local_hour_of_day(instant) -%}
    cast(extract(hour from {{ local_instant(instant, reporting_time_zone()) }}) as bigint)
{%- endmacro %}

{#-
  The newest of a column that is not later than the build: nothing is counted back from a record of a clock that is
  ahead. Where all are later, it is the build's own clock that is behind, and the newest is the newest.
-#}
{% macro newest_by(moment, build_moment) -%}
    coalesce(max(case when {{ moment }} <= {{ build_moment }} then {{ moment }} end), max({{ moment }}))
{%- endmacro %}

{#- The newest of a relation's column, as a query: by the build's run_at, run_date or run_date_local. -#}
{% macro newest_of(relation, column, build_column) -%}
    select {{ newest_by(relation ~ '.' ~ column, 'build_settings.' ~ build_column) }} as {{ column }}
    from {{ relation }}
    cross join {{ ref('int_build_settings') }} as build_settings
{%- endmacro %}
