{#-
  What a prompt asks for: whole words, first match wins. 'unknown' where the content policy kept no text,
  so that it is never mistaken for a prompt that matches nothing.
-#}
{% macro task_category(prompt_text) -%}
    case
        when {{ prompt_text }} is null then 'unknown'
        when {{ has_word(prompt_text, ['bug', 'fix', 'error', 'issue', 'broken', 'failing', 'crash']) }} then 'bug_fix'
        when {{ has_word(prompt_text, ['add', 'create', 'implement', 'new', 'feature', 'build']) }} then 'feature'
        when {{ has_word(prompt_text, ['refactor', 'restructure', 'reorganize', 'clean up', 'simplify']) }} then 'refactor'
        when {{ has_word(prompt_text, ['test', 'spec', 'validat[a-z]*', 'verif[a-z]*']) }} then 'testing'
        when {{ has_word(prompt_text, ['doc[a-z]*', 'readme', 'comment', 'explain']) }} then 'documentation'
        when {{ has_word(prompt_text, ['review', 'look at', 'check']) }} then 'review'
        else 'other'
    end
{%- endmacro %}

{#-
  Whether a kind of message was said by a person or in the model's name. Tool results are tool calls; what Claude Code
  puts in by itself (meta lines, summaries, command output) and what agents are told is nobody's.
-#}
{% macro is_spoken(message_kind) -%}
    {{ message_kind }} in (
        'human_prompt', 'command', 'bash_input', 'interrupt', 'assistant', 'synthetic', 'api_error'
    )
{%- endmacro %}

{#- Whether a tool is one of an MCP server: mcp__<server>__<tool>. -#}
{% macro is_mcp_tool(tool_name) -%}
    {{ tool_name }} like 'mcp@_@_%' escape '@'
{%- endmacro %}

{#- Whether a tool enters or leaves plan mode; it had another name when it was new. -#}
{% macro is_plan_mode_tool(tool_name) -%}
    {{ tool_name }} in ('EnterPlanMode', 'ExitPlanMode', 'exit_plan_mode')
{%- endmacro %}

{#- What became of a plan, by the outcome of the call that proposed it. An error says "no", not "broken". -#}
{% macro plan_verdict(outcome) -%}
    case
        when {{ outcome }} = 'success' then 'accepted'
        when {{ outcome }} in ('unanswered', 'interrupted') then 'open'
        else 'refused'
    end
{%- endmacro %}

{#- Time of day of a local hour; null for none. -#}
{% macro time_of_day(hour) -%}
    case
        when {{ hour }} between 6 and 11 then 'morning'
        when {{ hour }} between 12 and 17 then 'afternoon'
        when {{ hour }} between 18 and 21 then 'evening'
        when {{ hour }} is not null then 'night'
    end
{%- endmacro %}

{#- What kind of file an extension stands for. -#}
{% macro file_type(extension) -%}
    case
        when {{ extension }} is null then 'other'
        when {{ extension }} in (
            'py', 'js', 'jsx', 'ts', 'tsx', 'mjs', 'cjs', 'go', 'rs', 'java', 'kt', 'c', 'h', 'cc', 'cpp', 'hpp', 'cs',
            'rb', 'php', 'swift', 'scala', 'sh', 'bash', 'zsh', 'ps1', 'lua', 'dart', 'ex', 'exs', 'vue', 'svelte', 'r'
        ) then 'code'
        when {{ extension }} in ('md', 'mdx', 'rst', 'txt', 'adoc', 'tex', 'pdf', 'docx') then 'documentation'
        when {{ extension }} in (
            'json', 'jsonc', 'yaml', 'yml', 'toml', 'ini', 'cfg', 'conf', 'env', 'lock', 'properties', 'xml'
        ) then 'configuration'
        when {{ extension }} in ('html', 'css', 'scss', 'sass', 'less') then 'markup'
        when {{ extension }} in ('sql', 'csv', 'tsv', 'parquet', 'jsonl', 'ipynb', 'db', 'sqlite') then 'data'
        when {{ extension }} in ('png', 'jpg', 'jpeg', 'gif', 'svg', 'webp', 'ico', 'mp4', 'mp3') then 'media'
        else 'other'
    end
{%- endmacro %}

{#- What a hook event is about. An event that is not known here passes through as custom. -#}
{% macro hook_event_category(event_name) -%}
    case
        when {{ event_name }} in (
            'PreToolUse', 'PostToolUse', 'PostToolUseFailure', 'PostToolBatch', 'PermissionRequest', 'PermissionDenied'
        ) then 'tool'
        when {{ event_name }} in ('Stop', 'StopFailure', 'MessageDisplay') then 'api'
        when {{ event_name }} in (
            'SessionStart', 'SessionEnd', 'Setup', 'PreCompact', 'PostCompact', 'SubagentStart', 'SubagentStop',
            'InstructionsLoaded', 'ConfigChange', 'PreModelSwitch', 'PostModelSwitch', 'CwdChanged', 'DirectoryAdded',
            'FileChanged', 'WorktreeCreate', 'WorktreeRemove', 'TaskCreated', 'TaskCompleted', 'TeammateIdle'
        ) then 'session'
        when {{ event_name }} in (
            'UserPromptSubmit', 'UserPromptExpansion', 'Notification', 'Elicitation', 'ElicitationResult'
        ) then 'user'
        else 'custom'
    end
{%- endmacro %}

{#- One tag of a list like ' failure mcp', with a space before it so that `like '% mcp%'` finds it. -#}
{% macro tag_if(condition, tag) -%}
    case when {{ condition }} then ' {{ tag }}' else '' end
{%- endmacro %}

{#- Whole-word match of any of the words, written without a backslash so that both engines read it alike. -#}
{% macro has_word(text, words) -%}
    {{ matches('lower(' ~ text ~ ')', '(^|[^a-z0-9_])(' ~ words | join('|') ~ ')([^a-z0-9_]|$)') }}
{%- endmacro %}
