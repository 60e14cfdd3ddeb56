{{- /* The operator's configuration: one place, since the Deployment carries its checksum. */}}
{{- define "tunesmith.config" -}}
{{- with .Values.settings }}
{{- toYaml . }}
{{ end -}}
leaseName: {{ include "tunesmith.fullname" . }}
policy: {{ toJson .Values.policy }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
accelerators:
  {{- range $name, $profile := .Values.accelerators }}
  {{ $name }}:
    {{- toYaml (merge (dict "image" (tpl $profile.image $)) $profile) | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "tunesmith.podSecurityContext" -}}
{{- $fixed := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- toYaml (merge $fixed .Values.podSecurityContext) }}
{{- end }}
