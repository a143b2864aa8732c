with

raw_events as (
    select * from {{ ref('stg_plan_events') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where command_name is not null
),

lines as (
    select * from {{ ref('stg_conversations') }}
    where line_type = 'pr-link' and pr_url is not null
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_plan_mode_tool('tool_name') }}
),

locations as (
    select * from {{ ref('int_sessions_located') }}
),

-- An archive from elsewhere may not tell the project; where one project alone has the plan, it is that one.
plan_projects as (
    select
        plan_name,
        min(project_path) as project_path
    from raw_events
    where project_path is not null and plan_name is not null
    group by plan_name
    having min(project_path) = max(project_path)
),

events_located as (
    select
        raw_events.*,
        coalesce(raw_events.project_path, plan_projects.project_path) as found_project_path,
        {{ replace_all_matches('raw_events.pr_url', '/+$', '') }} as slashless_pr_url
    from raw_events
    left join plan_projects
        on raw_events.plan_name = plan_projects.plan_name
),

-- What happened names an event, and not when or who told; see analytics/contracts/plan_events.py.
events_identified as (
    select
        *,
        case
            when event_type = 'pr_created' and slashless_pr_url is not null
                then {{ surrogate_key(["'pr_created'", 'slashless_pr_url']) }}
            else
                {{ surrogate_key(
                    ['event_type', 'found_project_path', 'plan_name', 'feature_id', 'occurrence_number']
                ) }}
        end as plan_event_key
    from events_located
),

-- An archive tells its own time; a manifest's is that of its last change.
events_ranked as (
    select
        *,
        max(case when detected_by = 'manifest' then 1 else 0 end)
            over (partition by plan_event_key)
            as manifest_flag,
        max(case when detected_by = 'archive' then 1 else 0 end)
            over (partition by plan_event_key)
            as archive_flag,
        row_number() over (
            partition by plan_event_key
            order by
                case when detected_by = 'archive' then 0 else 1 end asc nulls last,
                occurred_at asc nulls last,
                record_date asc nulls last,
                record_id asc nulls last
        ) as way_rank
    from events_identified
),

found_events as (
    select * from events_ranked
    where way_rank = 1
),

known_plans as (
    select
        found_project_path as project_path,
        plan_name
    from found_events
    where found_project_path is not null and plan_name is not null
    group by found_project_path, plan_name
),

-- Arguments are text a person wrote; of them only the name of a plan that is known otherwise goes on.
commands as (
    select
        messages.message_key,
        messages.session_id,
        messages.occurred_at,
        locations.project_path,
        case
            when {{ matches('messages.command_name', 'plan-new$') }} then 'plan_created'
            when {{ matches('messages.command_name', 'plan-optimize$') }} then 'plan_optimized'
            else 'orchestration_started'
        end as event_type,
        ' ' || translate(
            regexp_extract(messages.prompt_text, '<command-args>([^<]*)', 1),
            '/,' || chr(10),
            '   '
        ) || ' ' as argument_words
    from messages
    left join locations
        on messages.session_id = locations.session_id
    where
        messages.message_kind = 'command'
        and {{ matches('messages.command_name', '(^|[/:])plan-(new|optimize|orchestrate)$') }}
),

commands_ranked as (
    select
        commands.*,
        known_plans.plan_name,
        row_number() over (
            partition by commands.message_key
            order by
                length(known_plans.plan_name) desc nulls last, known_plans.plan_name asc nulls last
        ) as plan_rank
    from commands
    left join known_plans
        on
            commands.project_path = known_plans.project_path
            and instr(commands.argument_words, ' ' || known_plans.plan_name || ' ') > 0
),

named_commands as (
    select * from commands_ranked
    where plan_rank = 1
),

-- A command leads: the manifest is written, and perhaps changed, after it; an archive may be a little ahead. A
-- manifest may have changed for weeks, so that nothing but the plan's name tells its command.
pairs as (
    select
        found_events.plan_event_key,
        named_commands.message_key,
        abs({{ milliseconds_between('named_commands.occurred_at', 'found_events.occurred_at') }})
            as distance_ms
    from found_events
    inner join named_commands
        on
            found_events.event_type = named_commands.event_type
            and coalesce(found_events.found_project_path, named_commands.project_path)
            = named_commands.project_path
            and coalesce(named_commands.plan_name, found_events.plan_name) = found_events.plan_name
    where
        {{ milliseconds_between('named_commands.occurred_at', 'found_events.occurred_at') }}
        >= -600000
        and (
            {{ milliseconds_between('named_commands.occurred_at', 'found_events.occurred_at') }}
            <= 86400000
            or (found_events.time_source = 'mtime' and named_commands.plan_name is not null)
        )
),

{{ closest_pairs('pairs', 'plan_event_key', ['message_key'], ['distance_ms'], rounds=3) }},

pr_links_ranked as (
    select
        session_id,
        {{ replace_all_matches('pr_url', '/+$', '') }} as slashless_pr_url,
        coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) as occurred_at,
        row_number() over (
            partition by {{ replace_all_matches('pr_url', '/+$', '') }}
            order by
                coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) asc nulls last,
                session_id asc nulls last,
                record_id asc nulls last
        ) as link_rank
    from lines
),

pr_links as (
    select
        pr_links_ranked.session_id,
        pr_links_ranked.slashless_pr_url,
        pr_links_ranked.occurred_at,
        locations.project_path
    from pr_links_ranked
    left join locations
        on pr_links_ranked.session_id = locations.session_id
    where pr_links_ranked.link_rank = 1
),

-- Precedence for time: an archive's own, then a transcript's, then a manifest's.
told_events as (
    select
        found_events.plan_event_key,
        coalesce(found_events.session_id, named_commands.session_id, pr_links.session_id)
            as session_id,
        coalesce(
            found_events.found_project_path, named_commands.project_path, pr_links.project_path
        ) as project_path,
        found_events.plan_name,
        found_events.plan_path,
        found_events.event_type,
        found_events.feature_id,
        found_events.status,
        coalesce(found_events.slashless_pr_url, pr_links.slashless_pr_url) as pr_url,
        found_events.occurrence_number,
        found_events.sequence_number,
        found_events.feature_description_char_count,
        found_events.verification_char_count,
        found_events.dependency_count,
        found_events.archive_flag = 1 as is_in_archive,
        found_events.manifest_flag = 1 as is_in_manifest,
        named_commands.message_key is not null
        or pr_links.slashless_pr_url is not null as is_in_transcript,
        case
            when found_events.time_source = 'event' then 'archive'
            when
                coalesce(named_commands.occurred_at, pr_links.occurred_at) is not null
                then 'transcript'
            when found_events.time_source = 'mtime' then 'manifest'
            else 'date'
        end as time_source,
        case
            when found_events.time_source = 'event' then found_events.occurred_at
            else
                coalesce(
                    named_commands.occurred_at,
                    pr_links.occurred_at,
                    found_events.occurred_at,
                    cast(found_events.record_date as {{ timestamp_type() }})
                )
        end as occurred_at
    from found_events
    left join matches
        on found_events.plan_event_key = matches.plan_event_key
    left join named_commands
        on matches.message_key = named_commands.message_key
    left join pr_links
        on
            found_events.event_type = 'pr_created'
            and found_events.slashless_pr_url = pr_links.slashless_pr_url
),

transcript_events as (
    select
        {{ surrogate_key(["'command'", 'named_commands.message_key']) }} as plan_event_key,
        named_commands.session_id,
        named_commands.project_path,
        named_commands.plan_name,
        named_commands.event_type,
        cast(null as {{ string_type() }}) as status,
        cast(null as {{ string_type() }}) as pr_url,
        named_commands.occurred_at
    from named_commands
    left join matches
        on named_commands.message_key = matches.message_key
    where matches.message_key is null
    union all
    select
        {{ surrogate_key(["'pr_created'", 'pr_links.slashless_pr_url']) }} as plan_event_key,
        pr_links.session_id,
        pr_links.project_path,
        cast(null as {{ string_type() }}) as plan_name,
        'pr_created' as event_type,
        cast(null as {{ string_type() }}) as status,
        pr_links.slashless_pr_url as pr_url,
        pr_links.occurred_at
    from pr_links
    left join found_events
        on
            found_events.event_type = 'pr_created'
            and pr_links.slashless_pr_url = found_events.slashless_pr_url
    where found_events.plan_event_key is null
    union all
    select
        {{ surrogate_key(["'plan_mode'", 'tool_usage.tool_call_key']) }} as plan_event_key,
        tool_usage.session_id,
        locations.project_path,
        cast(null as {{ string_type() }}) as plan_name,
        case
            when tool_usage.tool_name = 'EnterPlanMode' then 'plan_mode_entered'
            else 'plan_mode_exited'
        end as event_type,
        {{ plan_verdict('tool_usage.outcome') }} as status,
        cast(null as {{ string_type() }}) as pr_url,
        tool_usage.occurred_at
    from tool_usage
    left join locations
        on tool_usage.session_id = locations.session_id
),

all_events as (
    select * from told_events
    union all
    select
        plan_event_key,
        session_id,
        project_path,
        plan_name,
        cast(null as {{ string_type() }}) as plan_path,
        event_type,
        cast(null as {{ string_type() }}) as feature_id,
        status,
        pr_url,
        cast(null as bigint) as occurrence_number,
        cast(null as bigint) as sequence_number,
        cast(null as bigint) as feature_description_char_count,
        cast(null as bigint) as verification_char_count,
        cast(null as bigint) as dependency_count,
        false as is_in_archive,
        false as is_in_manifest,
        true as is_in_transcript,
        'transcript' as time_source,
        occurred_at
    from transcript_events
),

plan_events_merged as (
    select
        ---------- keys
        plan_event_key,
        {{ surrogate_key(['session_id']) }} as session_key,
        {{ surrogate_key(["coalesce(project_path, 'unknown')"]) }} as project_key,
        case
            when
                plan_name is not null
                then {{ surrogate_key(["coalesce(project_path, 'unknown')", 'plan_name']) }}
        end as plan_key,

        ---------- ids
        session_id,
        feature_id,

        ---------- attributes
        event_type,
        plan_name,
        plan_path,
        status,
        pr_url,
        time_source,

        ---------- measures
        occurrence_number,
        sequence_number,
        feature_description_char_count,
        verification_char_count,
        dependency_count,

        ---------- booleans
        is_in_archive,
        is_in_manifest,
        is_in_transcript,

        ---------- dates and instants
        occurred_at,
        cast(occurred_at as date) as occurred_date,
        {{ local_date('occurred_at') }} as occurred_date_local,
        {{ local_hour_of_day('occurred_at') }} as hour_of_day_local
    from all_events
)

select * from plan_events_merged
