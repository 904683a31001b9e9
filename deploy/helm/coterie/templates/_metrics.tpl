{{- /* The port of a node's metrics; empty if it serves none. Takes dict "root", "node". */ -}}
{{- define "coterie.metricsPort" -}}
{{- $port := int .root.Values.metrics.port -}}
{{- if and .root.Values.metrics.enabled (ne .node.tee "sgx") -}}
  {{- if and .node.listens (has $port (list (int .node.port) (int (add (int .node.port) 1)))) -}}
    {{- fail (printf "metrics.port %d is one of node %s's own ports: choose another" $port .node.name) -}}
  {{- end -}}
  {{- $port -}}
{{- end -}}
{{- end -}}

{{- /* The rule that lets in who reads a node's metrics. Takes dict "root", "node". */ -}}
{{- define "coterie.scrapers" -}}
{{- with include "coterie.metricsPort" . -}}
- from:
    - namespaceSelector:
        matchLabels: {{- toYaml $.root.Values.metrics.from.namespaceLabels | nindent 10 }}
      podSelector:
        matchLabels: {{- toYaml $.root.Values.metrics.from.podLabels | nindent 10 }}
  ports:
    - {protocol: TCP, port: {{ . }}}
{{- end -}}
{{- end -}}
