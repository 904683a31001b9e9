{{- /*
A node's pod, as Jobs and JobSets have it. Takes dict "root", "node", "plan".
*/ -}}
{{- define "coterie.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $plan := .plan -}}
{{- $node := .node -}}
{{- $role := get $values.roles $node.role -}}
{{- $place := get $values.placements $node.tee -}}
{{- $sgx := eq $node.tee "sgx" -}}
{{- $tsm := has $node.tee (list "tdx" "snp") -}}
{{- if and (eq ($place.measures | default "node") "pod") (not $place.runtimeClassName) -}}
  {{- fail (printf "placements.%s measures pods, but its runtimeClassName is empty: only a runtime that makes a guest for each pod is measured so" $node.tee) -}}
{{- end -}}
metadata:
  labels:
    {{- include "coterie.nodeLabels" (dict "root" $root "node" $node) | nindent 4 }}
    {{- with include "coterie.added" (dict "root" $root "of" "pods" "what" "labels") }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- with include "coterie.added" (dict "root" $root "of" "pods" "what" "annotations") }}
  annotations: {{- . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  {{- if not $values.jobset.enabled }}
  hostname: {{ $node.name }}
  subdomain: {{ $root.Release.Name }}
  {{- end }}
  {{- with $place.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: 30
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- if $tsm }}
    # Only user 0 may ask Linux for reports. No capability goes with it.
    runAsUser: 0
    {{- else }}
    runAsNonRoot: true
    runAsUser: 10001
    {{- end }}
    runAsGroup: 10001
    fsGroup: 10001
    {{- with $place.groups }}
    supplementalGroups: {{ . | toJson }}
    {{- end }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $place.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $place.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $sgx }}
  initContainers:
    # Runs beside the node and ends with it (a native sidecar). Only this one may ask for the
    # provisioning key: it hosts Intel's quoting enclave.
    - name: aesm
      image: {{ include "coterie.image" (dict "what" "aesm" "image" $values.aesm) }}
      restartPolicy: Always
      command: [/opt/intel/sgx-aesm-service/aesm/aesm_service, --no-daemon, --no-syslog]
      env:
        - name: AESM_PATH
          value: /opt/intel/sgx-aesm-service/aesm
        - name: LD_LIBRARY_PATH
          value: /opt/intel/sgx-aesm-service/aesm
      securityContext: {{- include "coterie.containerSecurity" $root | nindent 8 }}
      resources:
        limits: &{{ $node.name }}-aesm
          cpu: {{ $values.aesm.cpu | quote }}
          memory: {{ $values.aesm.memory }}
          sgx.intel.com/enclave: "1"
          sgx.intel.com/provision: "1"
          sgx.intel.com/epc: {{ $values.aesm.epc }}
        requests: *{{ $node.name }}-aesm
      volumeMounts:
        - {name: aesm, mountPath: /var/run/aesmd}
        - {name: aesm-state, mountPath: /var/opt/aesmd}
        - {name: quoting, mountPath: /etc/sgx_default_qcnl.conf, subPath: sgx_default_qcnl.conf, readOnly: true}
  {{- end }}
  containers:
    - name: node
      {{- if and $sgx (eq $node.role "ps") }}
      image: {{ include "coterie.image" (dict "what" "psImage" "image" $values.psImage) }}
      {{- else if $sgx }}
      image: {{ include "coterie.image" (dict "what" "workerImage" "image" $values.workerImage) }}
      {{- else }}
      image: {{ include "coterie.image" (dict "what" "image" "image" $values.image) }}
      {{- end }}
      {{- if not $sgx }}
      args: {{- include "coterie.arguments" (dict "root" $root "node" $node "plan" $plan) | nindent 8 }}
      {{- end }}
      {{- $metrics := include "coterie.metricsPort" (dict "root" $root "node" $node) }}
      {{- if or $node.listens $metrics }}
      ports:
        {{- if $node.listens }}
        - {name: attestation, containerPort: {{ $node.port }}}
        - {name: grpc, containerPort: {{ add (int $node.port) 1 }}}
        {{- end }}
        {{- with $metrics }}
        - {name: metrics, containerPort: {{ . }}}
        {{- end }}
      {{- end }}
      securityContext: {{- include "coterie.containerSecurity" $root | nindent 8 }}
      resources:
        limits: &{{ $node.name }}
          cpu: {{ $role.cpu | quote }}
          memory: {{ $role.memory }}
          {{- if $sgx }}
          sgx.intel.com/enclave: "1"
          sgx.intel.com/epc: {{ required (printf "roles.%s.epc is empty" $node.role) $role.epc }}
          {{- end }}
          {{- with $place.device }}
          {{ . }}: "1"
          {{- end }}
        requests: *{{ $node.name }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if $sgx }}
        # File by file: mounted folders are made of symbolic links, which Gramine is not to follow.
        - {name: inputs, mountPath: /enclave/inputs/node.toml, subPath: node.toml, readOnly: true}
        - {name: inputs, mountPath: /enclave/inputs/contract.toml, subPath: contract.toml, readOnly: true}
        {{- range $party, $_ := $values.contract.signatures }}
        - {name: inputs, mountPath: /enclave/inputs/contract.toml.{{ $party }}.sig, subPath: contract.toml.{{ $party }}.sig, readOnly: true}
        {{- end }}
        - {name: state, mountPath: /enclave/out, subPath: out}
        - {name: state, mountPath: /enclave/memory, subPath: memory}
        - {name: aesm, mountPath: /var/run/aesmd}
        {{- else }}
        - {name: inputs, mountPath: /contract, readOnly: true}
        - {name: state, mountPath: /state}
        {{- end }}
        {{- if $tsm }}
        # Not below /sys: nothing can be mounted there, and AppArmor's usual profile forbids to write there.
        - {name: reports, mountPath: /machine/sys/kernel/config/tsm/report}
        {{- end }}
        {{- if $node.owns }}
        {{- $data := required (printf "data.%s is empty: node %s owns data" $node.party $node.name) (get $values.data $node.party) }}
        - {name: data, mountPath: {{ ternary "/enclave/data" "/data" $sgx }}, subPath: {{ $data.folder | quote }}, readOnly: true}
        {{- end }}
        {{- if get $values.partyKeys $node.party }}
        - {name: party, mountPath: /party, readOnly: true}
        {{- end }}
  volumes:
    - name: inputs
      projected:
        sources:
          - configMap:
              name: {{ include "coterie.contractName" $root }}
          {{- if $sgx }}
          - configMap:
              name: {{ $root.Release.Name }}-inputs
              items:
                - {key: {{ $node.name }}.toml, path: node.toml}
          {{- end }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ include "coterie.objectName" (dict "root" $root "node" $node.name) }}
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: {{ $role.tmp }}
    {{- if $node.owns }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ (get $values.data $node.party).claim }}
        readOnly: true
    {{- end }}
    {{- with get $values.partyKeys $node.party }}
    - name: party
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items:
          - {key: key.pem, path: key.pem}
    {{- end }}
    {{- if $tsm }}
    - name: reports
      hostPath:
        path: /sys/kernel/config/tsm/report
        type: Directory
    {{- end }}
    {{- if $sgx }}
    - name: aesm
      emptyDir:
        medium: Memory
        sizeLimit: 1Mi
    - name: aesm-state
      emptyDir:
        sizeLimit: 64Mi
    - name: quoting
      configMap:
        name: {{ $root.Release.Name }}-quoting
    {{- end }}
{{- end -}}
