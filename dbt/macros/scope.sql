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

  As the query that the loader runs after each load (raw._dirty_dates holds the changed dates; tests/dbt
  run this very text against a full refresh):

  -- closure begins
  with changed_dates as (
      select distinct record_date from raw._dirty_dates where dataset = 'conversations'
  ),
  lines as (
      select
          record_date,
          coalesce(cast(progress_message_at as date), record_date) as fact_date,
          coalesce(nullif(session_id, ''), 'unknown') as session_id,
          case
              when line_type not in ('user', 'assistant', 'progress') then null
              when coalesce(progress_message_type, line_type) = 'assistant'
                  then coalesce(
                      nullif(message_id, ''), nullif(request_id, ''),
                      nullif(progress_message_uuid, ''), nullif(line_uuid, ''), record_id
                  )
              else coalesce(nullif(progress_message_uuid, ''), nullif(line_uuid, ''), record_id)
          end as message_id,
          blocks
      from raw.conversations
      where line_type in ('user', 'assistant', 'progress') or nullif(session_id, '') is not null
  ),
  tool_lines as (
      select record_date, fact_date, session_id, message_id, block.tool_use_id as tool_use_id
      from (select record_date, fact_date, session_id, message_id, unnest(blocks) as block from lines)
      where block.tool_use_id is not null
  ),
  touched_sessions as (
      select distinct session_id from lines where record_date in (select record_date from changed_dates)
  ),
  touched_messages as (
      select distinct message_id
      from lines
      where message_id is not null and session_id in (select session_id from touched_sessions)
  ),
  touched_tools as (
      select distinct tool_use_id
      from tool_lines
      where
          session_id in (select session_id from touched_sessions)
          or message_id in (select message_id from touched_messages)
  ),
  rebuild_lines as (
      select record_date, fact_date from lines where session_id in (select session_id from touched_sessions)
      union
      select record_date, fact_date from lines where message_id in (select message_id from touched_messages)
      union
      select record_date, fact_date from tool_lines where tool_use_id in (select tool_use_id from touched_tools)
  ),
  rebuild_dates as (
      select record_date from changed_dates
      union
      select record_date from rebuild_lines
      union
      select fact_date from rebuild_lines
  ),
  rebuilt_messages as (
      select distinct message_id
      from lines
      where
          message_id is not null
          and (
              record_date in (select record_date from rebuild_dates)
              or fact_date in (select record_date from rebuild_dates)
          )
  ),
  rebuilt_tools as (
      select distinct tool_use_id
      from tool_lines
      where
          record_date in (select record_date from rebuild_dates)
          or fact_date in (select record_date from rebuild_dates)
  ),
  read_dates as (
      select record_date from rebuild_dates
      union
      select record_date from lines where message_id in (select message_id from rebuilt_messages)
      union
      select record_date from tool_lines where tool_use_id in (select tool_use_id from rebuilt_tools)
  )
  select record_date, 'rebuild' as role from rebuild_dates
  union all
  select record_date, 'read' as role from read_dates
  -- closure ends

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
