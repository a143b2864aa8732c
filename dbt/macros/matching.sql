{#-
  CTEs that match two sides by a CTE of their possible pairs, closest first and each side once; the last is `matches`.
  Where two are each other's best they are a match, and the rest go on without them. One order of all pairs makes this
  the greedy choice, whatever the order of rows. What fits after so many rounds is left in pairs_<rounds + 1>.

  `ordering` says what is closest, by columns of which less is better; `right_keys` may be several that are one key.
-#}
{% macro closest_pairs(pairs, left_key, right_keys, ordering, rounds) -%}
{%- set closest = ordering | join(' asc nulls last, ') -%}
{%- for round in range(1, rounds + 1) -%}
{%- set before = pairs if loop.first else 'pairs_' ~ round -%}
ranks_{{ round }} as (
    select
        *,
        row_number() over (
            partition by {{ left_key }}
            order by {{ closest }} asc nulls last, {{ right_keys | join(' asc nulls last, ') }} asc nulls last
        ) as left_rank,
        row_number() over (
            partition by {{ right_keys | join(', ') }}
            order by {{ closest }} asc nulls last, {{ left_key }} asc nulls last
        ) as right_rank
    from {{ before }}
),

matches_{{ round }} as (
    select * from ranks_{{ round }}
    where left_rank = 1 and right_rank = 1
),

pairs_{{ round + 1 }} as (
    select {{ before }}.*
    from {{ before }}
    left join matches_{{ round }} as left_matches
        on {{ before }}.{{ left_key }} = left_matches.{{ left_key }}
    left join matches_{{ round }} as right_matches
        on
            {%- for key in right_keys %}
            {% if not loop.first %}and {% endif %}{{ before }}.{{ key }} = right_matches.{{ key }}
            {%- endfor %}
    where left_matches.{{ left_key }} is null and right_matches.{{ right_keys[0] }} is null
),

{% endfor -%}
matches as (
    {%- for round in range(1, rounds + 1) %}
    select * from matches_{{ round }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)
{%- endmacro %}
