{{- /*
For your own pods, when this chart is a dependency of yours (name it `slotcar` there):

    metadata:
      labels:
        {{- include "slotcar.podLabels" .Subcharts.slotcar | nindent 8 }}
    spec:
      initContainers:
        {{- include "slotcar.sidecar" .Subcharts.slotcar | nindent 8 }}
        # your own, which may use Redis already
      volumes:
        {{- include "slotcar.volumes" .Subcharts.slotcar | nindent 8 }}
*/ -}}

{{- /* What the PodMonitor selects. */ -}}
{{- define "slotcar.podLabels" -}}
slotcar/sidecar: native
slotcar/instance: {{ include "slotcar.fullname" . }}
{{- end }}

{{- /* The first of the initContainers: a native sidecar. */ -}}
{{- define "slotcar.sidecar" -}}
- name: slotcar
  restartPolicy: Always
  {{- include "slotcar.container" . | nindent 2 }}
{{- end }}

{{- define "slotcar.volumes" -}}
- name: slotcar-config
  configMap:
    name: {{ include "slotcar.fullname" . }}
{{- with .Values.secret.name }}
- name: slotcar-secret
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The container without its name, as a sidecar and in a pod of its own. */ -}}
{{- define "slotcar.container" -}}
image: {{ include "slotcar.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: SLOTCAR_CONFIG
    value: /etc/slotcar/config/slotcar.toml
  # The kubelet and Prometheus come from outside the pod.
  - name: SLOTCAR_ADMIN
    value: 0.0.0.0:9621
  - name: SLOTCAR_CLIENT_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  # Kubernetes 1.35 and later copy this label from the node; an empty value counts as not set.
  - name: SLOTCAR_ZONE
    valueFrom:
      fieldRef:
        fieldPath: metadata.labels['topology.kubernetes.io/zone']
  {{- if and .Values.secret.name .Values.secret.passwordKey }}
  - name: SLOTCAR_PASSWORD_FILE
    value: /etc/slotcar/secret/{{ .Values.secret.passwordKey }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: slotcar-admin
    containerPort: 9621
{{- range $probe, $path := dict "startup" "/startupz" "readiness" "/readyz" "liveness" "/livez" }}
{{- with get $.Values.probes $probe }}
{{ $probe }}Probe:
  httpGet:
    path: {{ $path }}
    port: slotcar-admin
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: slotcar-config
    mountPath: /etc/slotcar/config
    readOnly: true
  {{- if .Values.secret.name }}
  - name: slotcar-secret
    mountPath: /etc/slotcar/secret
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
