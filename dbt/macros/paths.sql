{#- Forward slashes only and none at the end. No backslash may stand in a literal: chr(92) is one. -#}
{% macro slashed_path(path) -%}
    regexp_replace(replace({{ path }}, chr(92), '/'), '/+$', '')
{%- endmacro %}

{#- Windows writes the drive letter in either case. -#}
{% macro with_upper_drive(path) -%}
    case
        when {{ matches(path, '^[a-z]:') }} then upper(substr({{ path }}, 1, 1)) || substr({{ path }}, 2)
        else {{ path }}
    end
{%- endmacro %}

{#- The part after the last slash. -#}
{% macro last_path_part(path) -%}
    coalesce(nullif(regexp_extract({{ path }}, '([^/]+)/*$', 1), ''), {{ path }})
{%- endmacro %}

{#- Lower-case extension without its dot; null for none (`Makefile`) and for hidden files (`.gitignore`). -#}
{% macro file_extension(path) -%}
    nullif(regexp_extract(lower(replace({{ path }}, chr(92), '/')), '[^/.][^/]*[.]([a-z0-9_]+)$', 1), '')
{%- endmacro %}
