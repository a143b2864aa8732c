{#-
  What an incremental run reads and replaces.

  The loader writes two tables before every run:

    raw._build_settings   one row: is_full_refresh, reporting_timezone, ...; literals once dbt renders a model
    raw._rebuild_dates    (record_date, role); a model's SQL asks for them when it runs, so that an increment's
                          SQL is the same whatever the dates are, and can be run again without dbt

  (Neither is a dbt var, which would force a full parse.)

  What each role rebuilds, and why one changed day reaches others, is told in analytics/rebuild_dates.sql, which the
  loader runs after each load. It reads raw._entities (the ids of every row as hashes, kept by analytics/loader.py);
  tests/dbt hold an increment against a full refresh. Hook events take part with their session and tool use id. Owners
  and projects follow from when sessions began and ended (int_session_threads_computed), which every run makes anew.

  Some models hold what a whole session makes (its turns, what its prompts cost): they replace sessions and
  not dates, by `replaces='sessions'`. Whose facts on a rebuilt date came, went or moved holds a line of that
  fact, which is read: so the sessions with a line or a firing on a read date (int_sessions_rebuilt) are all.

  Two changes that a list of dates cannot express ask for is_full_refresh: rows that were removed
  (prune, another content policy), and another setting or price list.
-#}

{% macro is_full_build() -%}
    {%- if not execute or not is_incremental() -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set settings = run_query('select is_full_refresh from raw._build_settings') -%}
    {{ return(settings.rows[0][0]) }}
{%- endmacro %}

{#- Condition on the lines a run must read. -#}
{% macro is_read(record_date) -%}
    {%- if is_full_build() -%}1 = 1{%- else -%}{{ is_one_of_dates(record_date, 'read') }}{%- endif -%}
{%- endmacro %}

{#- Condition on the facts a run writes. -#}
{% macro is_rebuilt(occurred_date) -%}
    {%- if is_full_build() -%}1 = 1{%- else -%}{{ is_one_of_dates(occurred_date, 'rebuild') }}{%- endif -%}
{%- endmacro %}

{#- Condition on what a run writes of sessions, for a model that `replaces` them whole and not days. -#}
{% macro is_rebuilt_session(session_id) -%}
    {%- if execute and is_full_build() -%}1 = 1
    {%- else -%}{{ session_id }} in (select session_id from {{ ref('int_sessions_rebuilt') }}){%- endif -%}
{%- endmacro %}

{#- The zone in which a person schedules; facts carry local days beside UTC ones. -#}
{% macro reporting_time_zone() -%}
    {%- if not execute -%}{{ return('UTC') }}{%- endif -%}
    {%- set settings = run_query('select reporting_timezone from raw._build_settings') -%}
    {{ return(settings.rows[0][0]) }}
{%- endmacro %}

{#- Idle minutes after which a session's next prompt begins another conversation. -#}
{% macro conversation_gap_minutes() -%}
    {%- if not execute -%}{{ return(240) }}{%- endif -%}
    {%- set settings = run_query('select conversation_gap_minutes from raw._build_settings') -%}
    {{ return(settings.rows[0][0]) }}
{%- endmacro %}
