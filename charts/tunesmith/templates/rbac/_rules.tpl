{{- /* What the operator does in every namespace it looks after; each verb is used. */}}
{{- define "tunesmith.rules" -}}
- apiGroups: [tunesmith.dev]
  resources: [alignmentjobs, finetunejobs]
  verbs: [get, list, watch]
- apiGroups: [tunesmith.dev]
  resources: [alignmentjobs/status, finetunejobs/status]
  verbs: [patch]
- apiGroups: [kubeflow.org]
  resources: [pytorchjobs]
  verbs: [create, delete, get, list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [create, get]
# The operator's own Lease, by name: it is changed every few seconds, so a watch that does not tell of it is dead. The
# watch covers every namespace that is looked after.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "tunesmith.fullname" . }}]
  verbs: [get, list, watch]
{{- end }}

{{- /* Its watches cover its own namespace too, where its Lease is; jobs there are left alone. */}}
{{- define "tunesmith.watchRules" -}}
- apiGroups: [tunesmith.dev]
  resources: [alignmentjobs, finetunejobs]
  verbs: [get, list, watch]
- apiGroups: [kubeflow.org]
  resources: [pytorchjobs]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end }}
