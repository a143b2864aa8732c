{#-
  Everything a gold table promises about its rows, in one query: a node costs more than a check. Each
  returned row names the broken promise and how many rows break it.

    grain            columns that together identify a row (unique, never null)
    not_null         more columns that are never null; booleans, which are never null in gold, are found by name
    accepted_values  column: list; null is allowed unless the column is in not_null
    foreign_keys     column: {to: ref(...), field: key column there}; null is allowed likewise
    identities       conditions that hold in every row where they are not null
-#}
{% test gold_contract(model, grain, not_null=[], accepted_values={}, foreign_keys={}, identities=[]) %}

{%- set never_null = grain + not_null -%}
{%- if execute -%}
    {%- for column in graph.nodes.values()
        | selectattr('resource_type', 'equalto', 'model')
        | selectattr('name', 'equalto', model.identifier) | map(attribute='columns') | first -%}
        {%- if column.startswith(('is_', 'has_', 'was_')) -%}{%- do never_null.append(column) -%}{%- endif -%}
    {%- endfor -%}
{%- endif -%}

with

rows_checked as (
    select * from {{ model }}
),

grain_broken as (
    select count(*) as failure_count
    from (
        select 1 as one
        from rows_checked
        group by {{ grain | join(', ') }}
        having count(*) > 1
    ) as repeated_grains
),

rows_counted as (
    select
        {%- for column in never_null %}
        sum(case when {{ column }} is null then 1 else 0 end) as null_{{ loop.index }},
        {%- endfor %}
        {%- for column, values in accepted_values.items() %}
        sum(case when {{ column }} not in ('{{ values | join("', '") }}') then 1 else 0 end) as value_{{ loop.index }},
        {%- endfor %}
        {%- for condition in identities %}
        sum(case when not ({{ condition }}) then 1 else 0 end) as identity_{{ loop.index }},
        {%- endfor %}
        count(*) as row_count
    from rows_checked
),

{% for column, target in foreign_keys.items() -%}
orphans_{{ loop.index }} as (
    select count(*) as failure_count
    from rows_checked
    left join {{ target.to }} as targets
        on rows_checked.{{ column }} = targets.{{ target.field }}
    where rows_checked.{{ column }} is not null and targets.{{ target.field }} is null
),

{% endfor -%}
failures as (
    select 'grain: {{ grain | join(", ") }}' as promise, failure_count from grain_broken
    {%- for column in never_null %}
    union all
    select 'not null: {{ column }}', null_{{ loop.index }} from rows_counted
    {%- endfor %}
    {%- for column in accepted_values %}
    union all
    select 'accepted values: {{ column }}', value_{{ loop.index }} from rows_counted
    {%- endfor %}
    {%- for condition in identities %}
    union all
    select 'identity: {{ condition | replace("'", "") }}', identity_{{ loop.index }} from rows_counted
    {%- endfor %}
    {%- for column in foreign_keys %}
    union all
    select 'foreign key: {{ column }}', failure_count from orphans_{{ loop.index }}
    {%- endfor %}
)

select * from failures
where failure_count > 0

{% endtest %}
