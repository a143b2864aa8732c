{#- What a person schedules by: the day, and the hour of it, that a naive UTC instant lies in where they are. -#}
{% macro local_date(instant) -%}
    cast({{ local_instant(instant, reporting_time_zone()) }} as date)
{%- endmacro %}

{% macro local_hour_of_day(instant) -%}
    cast(extract(hour from {{ local_instant(instant, reporting_time_zone()) }}) as bigint)
{%- endmacro %}
