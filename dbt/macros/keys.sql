{#- The same 32 hex digits on every engine; null and empty differ. Stated columns only, in the order given. -#}
{% macro surrogate_key(columns) -%}
    md5(
        {%- for column in columns %}
        coalesce(cast({{ column }} as {{ string_type() }}), '~null~')
        {%- if not loop.last %} || '|' ||{% endif %}
        {%- endfor %}
    )
{%- endmacro %}

{#-
  What identifies the message of a line of stg_conversations, so that all lines and copies of it meet: of a response its
  id, on whichever lines. The id of any other line is none of a response, even where the two are spelled alike.
  ENTITIES_SQL of analytics/loader.py has the same order of ids: by it an increment finds the days of a message.
-#}
{% macro message_source_id(line) -%}
    case
        when coalesce({{ line }}.progress_message_type, {{ line }}.line_type) = 'assistant'
            then
                coalesce(
                    {{ line }}.message_id,
                    {{ line }}.request_id,
                    {{ line }}.progress_message_uuid,
                    {{ line }}.line_uuid,
                    {{ line }}.record_id
                )
        else 'line:' || coalesce({{ line }}.progress_message_uuid, {{ line }}.line_uuid, {{ line }}.record_id)
    end
{%- endmacro %}
