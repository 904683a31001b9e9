{{- define "coterie.nodeLabels" -}}
{{ include "coterie.labels" .root }}
app.kubernetes.io/component: {{ .node.role }}
coterie/node: {{ .node.name }}
coterie/party: {{ .node.party }}
{{- end -}}

{{- /* Labels and annotations of a Job, or of the JobSet. Takes dict "root", "labels": the object's own. */ -}}
{{- define "coterie.jobMetadata" -}}
labels:
  {{- .labels | nindent 2 }}
  {{- with .root.Values.queue }}
  kueue.x-k8s.io/queue-name: {{ . }}
  {{- end }}
  {{- with include "coterie.added" (dict "root" .root "of" "jobs" "what" "labels") }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with include "coterie.added" (dict "root" .root "of" "jobs" "what" "annotations") }}
annotations: {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A node's Job, but for its metadata. Takes dict "root", "node", "plan". */ -}}
{{- define "coterie.jobSpec" -}}
{{- $values := .root.Values -}}
{{- include "coterie.checkVoucher" (dict "root" .root "node" .node) -}}
completions: 1
parallelism: 1
backoffLimit: {{ $values.restarts }}
# A node's next process comes when its last one has ended. Should two ever meet, the newer counts.
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    # Evictions and drains are no failures of the node.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    # Usage, trust, contract, data (docs/errors.md): no restart mends these, a person has to look.
    - action: FailJob
      onExitCodes:
        containerName: node
        operator: In
        values: [2, 3, 4, 5]
{{- if $values.jobset.enabled }}
completionMode: Indexed  # JobSet's names of pods need it
{{- end }}
template:
  {{- include "coterie.pod" . | nindent 2 }}
{{- end -}}
