{{- define "labels" -}}
app.kubernetes.io/name: vod-cover
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of one of the two programs: (dict "at" $ "component" "worker") */}}
{{- define "selector" -}}
{{ include "labels" .at }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What the pods of both have in common: nobody's rights, and time to drain. */}}
{{- define "pod" -}}
serviceAccountName: {{ (index .at.Values .component).serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .at.Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "selector" . | nindent 8 }}
{{- end }}

{{- define "container" -}}
name: {{ .component }}
image: {{ .at.Values.image.repository }}:{{ .at.Values.image.tag | default .at.Chart.AppVersion }}
imagePullPolicy: {{ .at.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
resources:
  {{- toYaml (index .at.Values .component).resources | nindent 2 }}
# Whether it answers: what is away outside would not be mended by a restart.
livenessProbe:
  httpGet: { path: /livez, port: ops }
  periodSeconds: 10
  timeoutSeconds: 2
readinessProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 5
  timeoutSeconds: 2
{{- end }}
