{#- Schemas are exactly raw, bronze, silver and gold: no target prefix, dev and prod differ by file. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
