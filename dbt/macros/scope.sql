{#-
  What an incremental run reads and replaces.

  The loader writes two tables before every run, and dbt reads them as literals when it renders a
  model (a subquery would prune no file and no row group; a dbt var would force a full parse):

    raw._build_settings   one row: is_full_refresh, reporting_timezone, ...
    raw._rebuild_dates    (record_date, role)

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

  Two changes that a list of dates cannot express ask for is_full_refresh: rows that were removed
  (prune, another content policy), and another setting or price list.
-#}

{% macro build_scope() -%}
    {%- if not execute or not is_incremental() -%}
        {{ return({'is_full': true}) }}
    {%- endif -%}
    {%- set settings = run_query('select is_full_refresh from raw._build_settings') -%}
    {%- if settings.rows | length == 0 or settings.rows[0][0] -%}
        {{ return({'is_full': true}) }}
    {%- endif -%}
    {%- set scope = {'is_full': false, 'rebuild': [], 'read': []} -%}
    {%- for row in run_query(
        'select distinct role, cast(record_date as ' ~ string_type() ~ ') from raw._rebuild_dates order by 1, 2'
    ).rows -%}
        {%- do scope[row[0]].append(row[1]) -%}
    {%- endfor -%}
    {{ return(scope) }}
{%- endmacro %}

{#- The bounds say nothing new, but DuckDB turns a longer list into a join and prunes row groups by them alone. -#}
{% macro date_is_in(column, dates) -%}
    {%- set days = dates | unique | sort -%}
    {%- if days | length == 0 -%}
        1 = 0
    {%- else -%}
        {{ column }} >= date '{{ days | first }}' and {{ column }} <= date '{{ days | last }}' and {{ column }} in (
            {%- for day in days -%}date '{{ day }}'{% if not loop.last %}, {% endif %}{%- endfor -%}
        )
    {%- endif -%}
{%- endmacro %}

{#- Condition on the lines a run must read. -#}
{% macro is_read(record_date) -%}
    {%- set scope = build_scope() -%}
    {%- if scope.is_full -%}1 = 1{%- else -%}{{ date_is_in(record_date, scope.read + scope.rebuild) }}{%- endif -%}
{%- endmacro %}

{#- Condition on the facts a run writes. -#}
{% macro is_rebuilt(occurred_date) -%}
    {%- set scope = build_scope() -%}
    {%- if scope.is_full -%}1 = 1{%- else -%}{{ date_is_in(occurred_date, scope.rebuild) }}{%- endif -%}
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
