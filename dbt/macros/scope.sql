{#-
  What an incremental run reads and replaces.

  The loader writes two tables before every run:

    raw._build_settings   one row: is_full_refresh, reporting_timezone, ...; literals once dbt renders a model
    raw._rebuild_dates    (record_date, role); a model's SQL asks for them when it runs, so that an increment's
                          SQL is the same whatever the dates are, and can be run again without dbt

  (Neither is a dbt var, which would force a full parse.)

  Roles. A fact is *replaced* when its own date is a `rebuild` date, and computed from lines whose
  record_date is a `read` date. Both lists are plain dates, so a run deletes and writes whole dates.

  Why one changed date reaches others. A fact depends on the lines of its entity (an API response by
  its id, a user line by its uuid, a tool call by its id), wherever copies of them lie, and on when
  the sessions that hold copies ended and where they started (owner and project). The latter come
  from int_session_threads_computed, which every run rebuilds whole from four narrow columns; only
  the former need a list of dates. With

    touched session   a session with a line on a changed date
    touched entity    an entity with a line in a touched session

    rebuild = changed dates
            + dates of every line of a touched session      (its end, start or project may have moved)
            + dates of every line of a touched entity       (its owner, hence its date, may have moved),
              and of the tool calls that a touched message makes
    read    = rebuild
            + dates of every line of an entity that has a line on a rebuild date
              (the rest of a rebuilt date is written again, so it must be read whole)

  The query is analytics/rebuild_dates.sql, over raw._entities (the ids of every row as hashes, kept by
  analytics/loader.py); the loader runs it after each load, and tests/dbt hold it against a full refresh.
  Hook events take part with their session and tool use id.

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
    {{ return(settings.rows | length == 0 or settings.rows[0][0]) }}
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
    {{ return(settings.rows[0][0] if settings.rows | length > 0 else 'UTC') }}
{%- endmacro %}

{#- Idle minutes after which a session's next prompt begins another conversation. -#}
{% macro conversation_gap_minutes() -%}
    {%- if not execute -%}{{ return(60) }}{%- endif -%}
    {%- set settings = run_query('select conversation_gap_minutes from raw._build_settings') -%}
    {{ return(settings.rows[0][0] if settings.rows | length > 0 else 60) }}
{%- endmacro %}
