{#-
  Everything that differs between DuckDB and Spark, and nothing else. Models call these; a model
  itself holds only functions that both engines have (tests/dbt/test_portable_sql.py).
-#}

{#- Text, to cast to. -#}
{% macro string_type() %}{{ return(adapter.dispatch('string_type')()) }}{% endmacro %}
{% macro duckdb__string_type() %}varchar{% endmacro %}
{% macro spark__string_type() %}string{% endmacro %}

{#- A naive instant in microseconds, to cast to. -#}
{% macro timestamp_type() %}{{ return(adapter.dispatch('timestamp_type')()) }}{% endmacro %}
{% macro duckdb__timestamp_type() %}timestamp{% endmacro %}
{% macro spark__timestamp_type() %}timestamp_ntz{% endmacro %}

{#- Milliseconds since the epoch of a naive UTC instant, bigint. -#}
{% macro epoch_milliseconds(instant) %}{{ return(adapter.dispatch('epoch_milliseconds')(instant)) }}{% endmacro %}
{% macro duckdb__epoch_milliseconds(instant) %}epoch_ms({{ instant }}){% endmacro %}
{% macro spark__epoch_milliseconds(instant) %}unix_millis(cast({{ instant }} as timestamp)){% endmacro %}

{#- Monday 1 to Sunday 7, bigint. -#}
{% macro iso_weekday(day) %}{{ return(adapter.dispatch('iso_weekday')(day)) }}{% endmacro %}
{% macro duckdb__iso_weekday(day) %}cast(isodow({{ day }}) as bigint){% endmacro %}
{% macro spark__iso_weekday(day) -%}
    cast(case dayofweek({{ day }}) when 1 then 7 else dayofweek({{ day }}) - 1 end as bigint)
{%- endmacro %}

{#- A naive UTC instant as the wall clock of a zone. -#}
{% macro local_instant(instant, zone) %}{{ return(adapter.dispatch('local_instant')(instant, zone)) }}{% endmacro %}
{% macro duckdb__local_instant(instant, zone) -%}
    {#- The zone of almost every test and server; skipping the two conversions saves a third of a fact's time. -#}
    {%- if zone == 'UTC' -%}{{ instant }}
    {%- else -%}timezone('{{ zone }}', timezone('UTC', {{ instant }})){%- endif -%}
{%- endmacro %}
{% macro spark__local_instant(instant, zone) -%}
    cast(from_utc_timestamp(cast({{ instant }} as timestamp), '{{ zone }}') as timestamp_ntz)
{%- endmacro %}

{#- The UTC instant at which the clocks of a zone first said so: some days have an hour twice, or begin without one. -#}
{% macro first_utc_instant(wall_clock, zone) -%}
    {{ return(adapter.dispatch('first_utc_instant')(wall_clock, zone)) }}
{%- endmacro %}
{% macro duckdb__first_utc_instant(wall_clock, zone) -%}
    {#- DuckDB takes the second of two, so the end of the microsecond before is asked for, which came once. -#}
    {%- if zone == 'UTC' -%}{{ wall_clock }}
    {%- else -%}
    timezone('UTC', timezone('{{ zone }}', {{ wall_clock }} - interval 1 microsecond)) + interval 1 microsecond
    {%- endif -%}
{%- endmacro %}
{% macro spark__first_utc_instant(wall_clock, zone) -%}
    cast(to_utc_timestamp(cast({{ wall_clock }} as timestamp), '{{ zone }}') as timestamp_ntz)
{%- endmacro %}

{#- A relation with one row per element of a list column: `from {{ exploded('lines', 'blocks', 'block') }}`. -#}
{% macro exploded(relation, list_column, element) -%}
    {{ return(adapter.dispatch('exploded')(relation, list_column, element)) }}
{%- endmacro %}
{% macro duckdb__exploded(relation, list_column, element) -%}
    {#- In the select list and not in `from`, where DuckDB would join each line with its own list: 10 times slower. -#}
    (select *, unnest({{ list_column }}) as {{ element }} from {{ relation }}) as {{ relation }}
{%- endmacro %}
{% macro spark__exploded(relation, list_column, element) -%}
    {{ relation }} lateral view explode({{ relation }}.{{ list_column }}) exploded_rows as {{ element }}
{%- endmacro %}

{#- Whether a list of content blocks holds one of a type; false for no list. -#}
{% macro has_block(blocks, block_type) %}{{ return(adapter.dispatch('has_block')(blocks, block_type)) }}{% endmacro %}
{% macro duckdb__has_block(blocks, block_type) -%}
    coalesce(len(list_filter({{ blocks }}, lambda b: b.block_type = '{{ block_type }}')) > 0, false)
{%- endmacro %}
{% macro spark__has_block(blocks, block_type) -%}
    coalesce(exists({{ blocks }}, b -> b.block_type = '{{ block_type }}'), false)
{%- endmacro %}

{#- Every day from one date to another, both included, as a relation with the column date_day. -#}
{% macro day_spine(first_day, last_day, relation) -%}
    {{ return(adapter.dispatch('day_spine')(first_day, last_day, relation)) }}
{%- endmacro %}
{% macro duckdb__day_spine(first_day, last_day, relation) -%}
    select cast(unnest(generate_series(
        cast({{ first_day }} as timestamp), cast({{ last_day }} as timestamp), interval 1 day
    )) as date) as date_day
    from {{ relation }}
{%- endmacro %}
{% macro spark__day_spine(first_day, last_day, relation) -%}
    select explode(sequence({{ first_day }}, {{ last_day }}, interval 1 day)) as date_day
    from {{ relation }}
{%- endmacro %}

{#- A timestamp moved by whole minutes. -#}
{% macro add_minutes(instant, minutes) %}{{ return(adapter.dispatch('add_minutes')(instant, minutes)) }}{% endmacro %}
{% macro duckdb__add_minutes(instant, minutes) -%}
    ({{ instant }} + to_minutes(cast({{ minutes }} as bigint)))
{%- endmacro %}
{% macro spark__add_minutes(instant, minutes) -%}
    ({{ instant }} + make_dt_interval(0, 0, {{ minutes }}, 0))
{%- endmacro %}

{#- Replaces every match, which is the default of one engine only. -#}
{% macro replace_all_matches(text, pattern, replacement) -%}
    {{ return(adapter.dispatch('replace_all_matches')(text, pattern, replacement)) }}
{%- endmacro %}
{% macro duckdb__replace_all_matches(text, pattern, replacement) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ replacement }}', 'g')
{%- endmacro %}
{% macro spark__replace_all_matches(text, pattern, replacement) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ replacement }}')
{%- endmacro %}

{#- Whether a text holds a match anywhere; null for null. -#}
{% macro matches(text, pattern) %}{{ return(adapter.dispatch('matches')(text, pattern)) }}{% endmacro %}
{% macro duckdb__matches(text, pattern) %}regexp_matches({{ text }}, '{{ pattern }}'){% endmacro %}
{% macro spark__matches(text, pattern) %}({{ text }} rlike '{{ pattern }}'){% endmacro %}

{#- The value, be it null, on the row where the ordering columns are least; rows that fail the condition do not take part. -#}
{% macro first_value_by(value, ordering, condition) -%}
    {{ return(adapter.dispatch('first_value_by')(value, ordering, condition)) }}
{%- endmacro %}
{% macro duckdb__first_value_by(value, ordering, condition) -%}
    arg_min_null({{ value }}, case when {{ condition }} then row({{ ordering | join(', ') }}) end)
{%- endmacro %}
{% macro spark__first_value_by(value, ordering, condition) -%}
    min_by({{ value }}, case when {{ condition }} then struct({{ ordering | join(', ') }}) end)
{%- endmacro %}

{#- The same on the row where they are greatest. -#}
{% macro last_value_by(value, ordering, condition) -%}
    {{ return(adapter.dispatch('last_value_by')(value, ordering, condition)) }}
{%- endmacro %}
{% macro duckdb__last_value_by(value, ordering, condition) -%}
    arg_max_null({{ value }}, case when {{ condition }} then row({{ ordering | join(', ') }}) end)
{%- endmacro %}
{% macro spark__last_value_by(value, ordering, condition) -%}
    max_by({{ value }}, case when {{ condition }} then struct({{ ordering | join(', ') }}) end)
{%- endmacro %}

{#- The start of the bucket of so many minutes that an instant lies in. -#}
{% macro minute_floor(instant, minutes) %}{{ return(adapter.dispatch('minute_floor')(instant, minutes)) }}{% endmacro %}
{% macro duckdb__minute_floor(instant, minutes) -%}
    time_bucket(interval '{{ minutes }} minutes', {{ instant }})
{%- endmacro %}
{% macro spark__minute_floor(instant, minutes) -%}
    cast(timestamp_seconds(
        floor(unix_timestamp(cast({{ instant }} as timestamp)) / ({{ minutes }} * 60)) * {{ minutes }} * 60
    ) as timestamp_ntz)
{%- endmacro %}

{#- The same day of the next month, as a timestamp. -#}
{% macro add_month(instant) %}{{ return(adapter.dispatch('add_month')(instant)) }}{% endmacro %}
{% macro duckdb__add_month(instant) %}cast({{ instant }} + interval 1 month as timestamp){% endmacro %}
{% macro spark__add_month(instant) %}cast(add_months({{ instant }}, 1) as timestamp_ntz){% endmacro %}

{#- Whether a date is one of raw._rebuild_dates: of role rebuild, or of any for the role read. -#}
{% macro is_one_of_dates(column, role) %}{{ return(adapter.dispatch('is_one_of_dates')(column, role)) }}{% endmacro %}
{% macro duckdb__is_one_of_dates(column, role) -%}
    {#- As variables, which the materialization sets: constants to the planner, where a subquery would neither go
        below the explosion of a list nor prune row groups. The bounds say nothing new, but pruning is by them alone. -#}
    {%- set dates = "getvariable('" ~ role ~ "_dates')" -%}
    ({{ column }} >= list_min({{ dates }}) and {{ column }} <= list_max({{ dates }})
    and list_contains({{ dates }}, {{ column }}))
{%- endmacro %}
{% macro spark__is_one_of_dates(column, role) -%}
    {{ column }} in (select record_date from raw._rebuild_dates {%- if role == 'rebuild' %} where role = 'rebuild' {%- endif -%})
{%- endmacro %}
