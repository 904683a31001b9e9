{{- /*
The plan: what the contract says about nodes, worked out once, as JSON. Everything that would let a
run start in a state that its nodes refuse anyway is refused here, by name.
*/ -}}
{{- define "coterie.plan" -}}
{{- $values := .Values -}}
{{- $contract := required "contract.text is empty: give --set-file contract.text=contract.toml" $values.contract.text | fromToml -}}
{{- if $contract.Error -}}
  {{- fail (printf "contract.text is not TOML: %s" $contract.Error) -}}
{{- end -}}
{{- $trust := $contract.trust | default dict -}}
{{- if ne $values.tee ($trust.tee | default "none") -}}
  {{- fail (printf "tee is %s, but the contract's trust.tee is %s: set tee to the contract's (a TDX guest is no place for this chart, see docs/deployment.md)" $values.tee ($trust.tee | default "none")) -}}
{{- end -}}
{{- if or (ne $values.tee "simulated") $trust.demand_signatures -}}
  {{- range $contract.parties -}}
    {{- if not (get $values.contract.signatures .name) -}}
      {{- fail (printf "party %s has not signed: give --set-file contract.signatures.%s=contract.toml.%s.sig" .name .name .name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $parties := list -}}
{{- range $contract.parties -}}{{- $parties = append $parties .name -}}{{- end -}}
{{- range $values.parties -}}
  {{- if not (has . $parties) -}}
    {{- fail (printf "parties names %s, who is not in the contract: it has %s" . (join ", " $parties)) -}}
  {{- end -}}
{{- end -}}
{{- $servers := list -}}
{{- $workers := list -}}
{{- range $contract.nodes -}}
  {{- if eq .role "ps" -}}{{- $servers = append $servers .name -}}{{- end -}}
  {{- if eq .role "worker" -}}{{- $workers = append $workers .name -}}{{- end -}}
{{- end -}}
{{- $hfl := eq $contract.mode "hfl" -}}
{{- $nodes := list -}}
{{- range $contract.nodes -}}
  {{- $dials := $servers -}}
  {{- if eq .role "chief" -}}{{- $dials = concat $servers $workers -}}{{- end -}}
  {{- if eq .role "ps" -}}{{- $dials = ternary list (list (first $servers)) (eq .name (first $servers)) -}}{{- end -}}
  {{- $nodes = append $nodes (dict
      "name" .name "role" .role "party" .party "dials" $dials
      "listens" (or (eq .role "ps") (and (eq .role "worker") (not $hfl)))
      "owns" (eq .role (ternary "worker" "chief" $hfl))
      "here" (or (empty $values.parties) (has .party $values.parties))
      "sharers" (ternary $parties (list) (and (eq .role "ps") (or (ne $values.tee "simulated") (eq (toString $trust.seal_checkpoints) "true"))))
      "port" (regexFind "[0-9]+$" (.address | default ":7440"))) -}}
{{- end -}}
{{- dict "mode" $contract.mode "nodes" $nodes | toJson -}}
{{- end -}}

{{- define "coterie.labels" -}}
app.kubernetes.io/name: coterie
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* Which pods: of this release, and, with "node", one node's. Takes dict "root" and "node". */ -}}
{{- define "coterie.selector" -}}
app.kubernetes.io/name: coterie
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .node }}
coterie/node: {{ . }}
{{- end }}
{{- end -}}

{{- define "coterie.objectName" -}}
{{- $name := printf "%s-%s" .root.Release.Name .node -}}
{{- if gt (len $name) 63 -}}
  {{- fail (printf "%s is longer than the 63 characters that a Job may have: choose a shorter release name" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* The contract never changes under a run: another text has another name. */ -}}
{{- define "coterie.contractName" -}}
{{ .Release.Name }}-contract-{{ printf "%s%s" .Values.contract.text (toJson .Values.contract.signatures) | sha256sum | trunc 10 }}
{{- end -}}

{{- define "coterie.image" -}}
{{- required (printf "%s.repository is empty" .what) .image.repository -}}
@
{{- required (printf "%s.digest is empty: images are named by digest" .what) .image.digest -}}
{{- end -}}

{{- define "coterie.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where a node dials another. Takes dict "root", "name", "nodes". */ -}}
{{- define "coterie.address" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- $given := get $root.Values.addresses $name -}}
{{- range .nodes -}}
  {{- if eq .name $name -}}
    {{- if .here -}}
      {{- printf "%s.%s.%s.svc.%s:%s" $name $root.Release.Name $root.Release.Namespace $root.Values.network.clusterDomain .port -}}
    {{- else -}}
      {{- required (printf "addresses.%s is empty: this release dials node %s and does not run it" $name $name) $given -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* Who vouches for a node: refuses where nobody does. Takes dict "root", "node". */ -}}
{{- define "coterie.checkVoucher" -}}
{{- $values := .root.Values -}}
{{- if and (eq $values.tee "sgx") $values.partyKeys -}}
  {{- fail "partyKeys are for simulated contracts only: under a real TEE give keyServers" -}}
{{- end -}}
{{- if not (or (get $values.keyServers .node.party) (get $values.partyKeys .node.party)) -}}
  {{- fail (printf "nobody vouches for node %s: give keyServers.%s%s" .node.name .node.party (ternary "" (printf ", or partyKeys.%s" .node.party) (eq $values.tee "sgx"))) -}}
{{- end -}}
{{- range without .node.sharers .node.party -}}
  {{- if not (get $values.keyServers .) -}}
    {{- fail (printf "node %s needs a share of the checkpoints' key from every party: give keyServers.%s" $.node.name .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* A simulated node's command line, as a YAML list. Takes dict "root", "node", "nodes". */ -}}
{{- define "coterie.arguments" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $node := .node -}}
{{- $nodes := .nodes -}}
- node
- /contract/contract.toml
- {{ $node.name }}
- --out=/state
- --log-format=json
{{- if $node.listens }}
- --listen=0.0.0.0:{{ $node.port }}
{{- end }}
{{- range $node.dials }}
- --address={{ . }}={{ include "coterie.address" (dict "root" $root "name" . "nodes" $nodes) }}
{{- end }}
{{- if $node.owns }}
- --data=/data
{{- end }}
{{- if get $values.partyKeys $node.party }}
- --party-key=/party/key.pem
{{- end }}
{{- with get $values.keyServers $node.party }}
- --key-server={{ .address }}
{{- end }}
{{- range without $node.sharers $node.party }}
- --key-server={{ . }}={{ (get $values.keyServers .).address }}
{{- end }}
{{- end -}}

{{- /*
What an enclave is told, node.toml: its arguments are measured, so there are none to give here.
Takes dict "root", "node", "nodes".
*/ -}}
{{- define "coterie.inputs" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $node := .node -}}
{{- $nodes := .nodes -}}
name = {{ $node.name | quote }}
{{- if $node.listens }}
listen = "0.0.0.0:{{ $node.port }}"
{{- end }}
pccs_url = {{ required "pccs.url is empty: under sgx every node judges by collateral from a PCCS" $values.pccs.url | quote }}
{{- if $node.dials }}

[addresses]
{{- range $node.dials }}
{{ . }} = {{ include "coterie.address" (dict "root" $root "name" . "nodes" $nodes) | quote }}
{{- end }}
{{- end }}

[key_servers]
{{ $node.party }} = {{ (get $values.keyServers $node.party).address | quote }}
{{- range without $node.sharers $node.party }}
{{ . }} = {{ (get $values.keyServers .).address | quote }}
{{- end }}
{{ end -}}
