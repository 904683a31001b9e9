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
{{- $kinds := list -}}
{{- $placed := list -}}
{{- range $contract.nodes -}}
  {{- /* Names become YAML below, and the contract may be one that nobody has checked yet. */ -}}
  {{- range list .name .party -}}
    {{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" (toString .)) -}}
      {{- fail (printf "a node of the contract has the name or party %q: check it with coterie contract show" (toString .)) -}}
    {{- end -}}
  {{- end -}}
  {{- if not (has .role (list "ps" "worker" "chief")) -}}
    {{- fail (printf "node %s of the contract has the role %q: check it with coterie contract show" .name (toString .role)) -}}
  {{- end -}}
  {{- $role := get ($trust.roles | default dict) .role | default dict -}}
  {{- $kind := .tee | default $role.tee | default $trust.tee | default "none" -}}
  {{- if not (hasKey $values.placements $kind) -}}
    {{- if or (empty $values.parties) (has .party $values.parties) -}}
      {{- fail (printf "node %s runs in the TEE %s, and the values say nowhere where that is: give placements.%s" .name $kind $kind) -}}
    {{- end -}}
  {{- end -}}
  {{- $kinds = append $kinds $kind -}}
  {{- $placed = append $placed (set (deepCopy .) "tee" $kind) -}}
{{- end -}}
{{- $real := false -}}
{{- range $kinds -}}{{- if not (hasPrefix "simulated" .) -}}{{- $real = true -}}{{- end -}}{{- end -}}
{{- /* Real nodes take documents from a directory and tokens from a socket, which the chart does not give them. */ -}}
{{- range $role, $table := $trust.roles -}}
  {{- range $one := prepend ($table.alternatives | default list) $table -}}
    {{- range $key := list "endorsement" "tokens" "launcher" -}}
      {{- if and $real (hasKey $one $key) -}}
        {{- fail (printf "trust.roles.%s demands %s, and the chart gives nodes no source of it: run them by coterie node" $role $key) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $kind, $_ := $values.placements -}}
  {{- if not (has $kind $kinds) -}}
    {{- fail (printf "placements.%s is for no node: the contract's run in %s" $kind (join ", " (uniq $kinds))) -}}
  {{- end -}}
{{- end -}}
{{- if or $real $trust.demand_signatures -}}
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
{{- range $placed -}}
  {{- $dials := $servers -}}
  {{- if eq .role "chief" -}}{{- $dials = concat $servers $workers -}}{{- end -}}
  {{- if eq .role "ps" -}}{{- $dials = ternary list (list (first $servers)) (eq .name (first $servers)) -}}{{- end -}}
  {{- $nodes = append $nodes (dict
      "name" .name "role" .role "party" .party "tee" .tee "dials" $dials
      "listens" (or (eq .role "ps") (and (eq .role "worker") (not $hfl)))
      "owns" (eq .role (ternary "worker" "chief" $hfl))
      "here" (or (empty $values.parties) (has .party $values.parties))
      "sharers" (ternary $parties (list) (and (eq .role "ps") (or $real (eq (toString $trust.seal_checkpoints) "true"))))
      "port" (regexFind "[0-9]+$" (.address | default ":7440"))) -}}
{{- end -}}
{{- $dcap := false -}}
{{- $snp := false -}}
{{- range $kinds -}}
  {{- if has . (list "sgx" "tdx" "azure-tdx") -}}{{- $dcap = true -}}{{- end -}}
  {{- if has . (list "snp" "azure-snp") -}}{{- $snp = true -}}{{- end -}}
{{- end -}}
{{- $traced := false -}}
{{- if $values.traces.url -}}
  {{- if ne (toString ($contract.results | default dict).traces) "true" -}}
    {{- fail "traces.url has no meaning: the contract does not say results.traces = true" -}}
  {{- end -}}
  {{- range $nodes -}}{{- if and .here (ne .tee "sgx") -}}{{- $traced = true -}}{{- end -}}{{- end -}}
  {{- if not $traced -}}
    {{- fail "traces.url has no meaning here: enclaves send no traces" -}}
  {{- end -}}
{{- end -}}
{{- dict "mode" $contract.mode "nodes" $nodes "traced" $traced "real" $real "dcap" $dcap "snp" $snp | toJson -}}
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

{{- /* JobSet adds two numbers to the name of each Job, and five letters to the pod's. */ -}}
{{- define "coterie.objectName" -}}
{{- $name := printf "%s-%s" .root.Release.Name .node -}}
{{- $most := ternary 53 63 .root.Values.jobset.enabled -}}
{{- if gt (len $name) $most -}}
  {{- fail (printf "%s is longer than the %d characters that a %s may have: choose a shorter release name" $name $most (ternary "JobSet's Job" "Job" .root.Values.jobset.enabled)) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* The pod's own name in the headless Service. Takes dict "root", "node". */ -}}
{{- define "coterie.hostname" -}}
{{- if .root.Values.jobset.enabled -}}{{ .root.Release.Name }}-{{ .node }}-0-0{{- else -}}{{ .node }}{{- end -}}
{{- end -}}

{{- /*
Labels or annotations that the values add to an object; the chart's own cannot be replaced.
Takes dict "root", "of" (pods, jobs or services), "what" (labels or annotations).
*/ -}}
{{- define "coterie.added" -}}
{{- $of := .of -}}
{{- $what := .what -}}
{{- $added := get (get .root.Values.metadata $of) $what -}}
{{- range $key, $_ := $added -}}
  {{- if regexMatch "^(app\\.kubernetes\\.io|coterie|jobset\\.sigs\\.k8s\\.io|batch\\.kubernetes\\.io)/|^kueue\\.x-k8s\\.io/queue-name$" $key -}}
    {{- fail (printf "metadata.%s.%s may not set %s: the chart or a controller sets it" $of $what $key) -}}
  {{- end -}}
{{- end -}}
{{- with $added -}}{{- toYaml . -}}{{- end -}}
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
      {{- printf "%s.%s.%s.svc.%s:%s" (include "coterie.hostname" (dict "root" $root "node" $name)) $root.Release.Name $root.Release.Namespace $root.Values.network.clusterDomain .port -}}
    {{- else -}}
      {{- required (printf "addresses.%s is empty: this release dials node %s and does not run it" $name $name) $given -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* Who vouches for a node: refuses where nobody does. Takes dict "root", "node". */ -}}
{{- define "coterie.checkVoucher" -}}
{{- $values := .root.Values -}}
{{- $real := not (hasPrefix "simulated" .node.tee) -}}
{{- if and $real $values.partyKeys -}}
  {{- fail "partyKeys are for simulated contracts only: under a real TEE give keyServers" -}}
{{- end -}}
{{- if not (or (get $values.keyServers .node.party) (get $values.partyKeys .node.party)) -}}
  {{- fail (printf "nobody vouches for node %s: give keyServers.%s%s" .node.name .node.party (ternary "" (printf ", or partyKeys.%s" .node.party) $real)) -}}
{{- end -}}
{{- range without .node.sharers .node.party -}}
  {{- if not (get $values.keyServers .) -}}
    {{- fail (printf "node %s needs a share of the checkpoints' key from every party: give keyServers.%s" $.node.name .) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* The command line of a node outside of SGX, as a YAML list. Takes dict "root", "node", "plan". */ -}}
{{- define "coterie.arguments" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $node := .node -}}
{{- $nodes := .plan.nodes -}}
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
{{- if .plan.dcap }}
- --pccs-url={{ include "coterie.pccs" $root }}
{{- end }}
{{- if .plan.snp }}
- --kds-url={{ include "coterie.kds" $root }}
{{- end }}
{{- if eq $node.tee "azure-tdx" }}
- --td-quote-url={{ required "tdQuotes.url is empty: azure-tdx nodes get their quotes from the platform's service" $values.tdQuotes.url }}
{{- end }}
{{- if has $node.tee (list "tdx" "snp") }}
- --machine-root=/machine
{{- end }}
{{- with include "coterie.metricsPort" (dict "root" $root "node" $node) }}
- --metrics-host=0.0.0.0
- --metrics-port={{ . }}
{{- end }}
{{- if .plan.traced }}
- --traces-to={{ $values.traces.url }}
{{- end }}
{{- end -}}

{{- define "coterie.pccs" -}}
{{- required "pccs.url is empty: every node judges quotes by collateral from a PCCS" .Values.pccs.url -}}
{{- end -}}

{{- define "coterie.kds" -}}
{{- required "kds.url is empty: every node judges SNP reports by what AMD's key distribution service has" .Values.kds.url -}}
{{- end -}}

{{- /*
What an enclave is told, node.toml: its arguments are measured, so there are none to give here.
Takes dict "root", "node", "plan".
*/ -}}
{{- define "coterie.inputs" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $node := .node -}}
{{- $nodes := .plan.nodes -}}
name = {{ $node.name | quote }}
{{- if $node.listens }}
listen = "0.0.0.0:{{ $node.port }}"
{{- end }}
pccs_url = {{ include "coterie.pccs" $root | quote }}
{{- if .plan.snp }}
kds_url = {{ include "coterie.kds" $root | quote }}
{{- end }}
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
