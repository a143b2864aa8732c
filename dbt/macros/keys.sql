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

{#- Nano-dollars (exact, silver) to dollars (gold); a product, because `/` is a float on both engines. -#}
{% macro nusd_to_usd(column) -%}
    cast(cast({{ column }} as decimal(18, 0)) * cast(0.000000001 as decimal(10, 9)) as decimal(18, 9))
{%- endmacro %}

{% macro milliseconds_between(earlier, later) -%}
    ({{ epoch_milliseconds(later) }} - {{ epoch_milliseconds(earlier) }})
{%- endmacro %}

{#- Whole-word match of any of the words, written without a backslash so that both engines read it alike. -#}
{% macro has_word(text, words) -%}
    {{ matches('lower(' ~ text ~ ')', '(^|[^a-z0-9_])(' ~ words | join('|') ~ ')([^a-z0-9_]|$)') }}
{%- endmacro %}

{#- The n-th of equal whole parts of an amount; together they are the amount. -#}
{% macro nth_part(amount, part_number, part_count) -%}
    cast(
        floor(cast({{ amount }} * {{ part_number }} as double) / {{ part_count }})
        - floor(cast({{ amount }} * ({{ part_number }} - 1) as double) / {{ part_count }}) as bigint
    )
{%- endmacro %}
