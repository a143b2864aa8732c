{#-
  The rows of an alert, all of one shape: what was measured above its threshold (int_alert_thresholds_combined).
  `measurements` is a CTE with subject_name, measured_value and measured_date.

  A day that went wrong is a firing of its own. What goes on from day to day (`is_lasting`) is one firing, whose
  key names no day, or it would be told anew every day.
-#}
{% macro alert_firings(alert_name, unit_name, is_lasting=false) -%}
    {%- set subject = ["'" ~ alert_name ~ "'", 'measurements.subject_name'] -%}
    select
        {{ surrogate_key(subject if is_lasting else subject + ['measurements.measured_date']) }} as alert_key,
        '{{ alert_name }}' as alert_name,
        thresholds.severity,
        measurements.subject_name,
        '{{ unit_name }}' as unit_name,
        cast(measurements.measured_value as double) as measured_value,
        cast(thresholds.threshold_value as double) as threshold_value,
        measurements.measured_date
    from measurements
    inner join thresholds
        on thresholds.alert_name = '{{ alert_name }}'
    where measurements.measured_value > thresholds.threshold_value
{%- endmacro %}
