{#-
  Leaner than dbt-duckdb's own, which builds beside the target, renames twice and drops: that is most
  of the time of a small node. DuckDB replaces a table or a view in one transactional statement.
  What is left out is what this project does not use: hooks, grants, indexes, constraints, comments.
-#}

{% macro assert_contract(sql) -%}
    {%- if config.get('contract').enforced -%}
        {%- do get_assert_columns_equivalent(sql) -%}
    {%- endif -%}
{%- endmacro %}

{#- `create or replace` refuses to turn a view into a table or the other way round. -#}
{% macro drop_if_other_type(relation_type) -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is not none and existing.type != relation_type -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
{%- endmacro %}

{% materialization view, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- do drop_if_other_type('view') -%}
    {%- do assert_contract(sql) -%}
    {% call statement('main') -%}
        create or replace view {{ target_relation }} as
        {{ sql }}
    {%- endcall %}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{% materialization table, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- do drop_if_other_type('table') -%}
    {%- do assert_contract(sql) -%}
    {% call statement('main') -%}
        create or replace table {{ target_relation }} as
        {{ sql }}
    {%- endcall %}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{#- Replaces whole dates, or sessions, in one transaction; see macros/scope.sql for which. -#}
{% materialization incremental, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set is_full = is_full_build() -%}
    {%- do drop_if_other_type('table') -%}
    {#- An increment is of the model that a full build made: its table holds the contract's columns already. -#}
    {%- if is_full -%}
        {%- do assert_contract(sql) -%}
    {%- endif -%}
    {% call statement('main') -%}
        {%- if is_full %}
        create or replace table {{ target_relation }} as
        {{ sql }}
        {%- else %}
        set variable read_dates = (select list(distinct record_date) from raw._rebuild_dates);
        set variable rebuild_dates = (select list(record_date) from raw._rebuild_dates where role = 'rebuild');
        delete from {{ target_relation }} where
        {%- if config.get('replaces') == 'sessions' %} {{ is_rebuilt_session('session_id') }}
        {%- else %} {{ is_rebuilt('occurred_date') }}{% endif %};
        insert into {{ target_relation }} by name
        {{ sql }}
        {%- endif %}
    {%- endcall %}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
