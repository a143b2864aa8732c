{#- Nano-dollars (exact, silver) to dollars (gold); a product, because `/` is a float on both engines. -#}
{% macro nusd_to_usd(column) -%}
    cast(cast({{ column }} as decimal(18, 0)) * cast(0.000000001 as decimal(10, 9)) as decimal(18, 9))
{%- endmacro %}

{#- Milliseconds from one naive UTC instant to another, bigint; negative where they lie the other way round. -#}
{% macro milliseconds_between(earlier, later) -%}
    ({{ epoch_milliseconds(later) }} - {{ epoch_milliseconds(earlier) }})
{%- endmacro %}

{#- The n-th of equal whole parts of an amount; together they are the amount. -#}
{% macro nth_part(amount, part_number, part_count) -%}
    cast(
        floor(cast({{ amount }} * {{ part_number }} as double) / {{ part_count }})
        - floor(cast({{ amount }} * ({{ part_number }} - 1) as double) / {{ part_count }}) as bigint
    )
{%- endmacro %}
