{{/* Name of the operator's objects. */}}
{{- define "chronik.name" -}}
{{- printf "%s-operator" (.Release.Name | trunc 50 | trimSuffix "-") -}}
{{- end -}}

{{/* Name of what the pre-delete hook needs. */}}
{{- define "chronik.hookName" -}}
{{- printf "%s-release" (include "chronik.name" .) -}}
{{- end -}}

{{/* Secret where the operator keeps its webhook's certificate. */}}
{{- define "chronik.webhookSecret" -}}
{{- printf "%s-webhook" (include "chronik.name" .) -}}
{{- end -}}

{{/* Name of the webhook's objects that are in no namespace: each release has its own. */}}
{{- define "chronik.webhookName" -}}
{{- printf "%s.%s" (include "chronik.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "chronik.selector" -}}
app.kubernetes.io/name: chronik
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What every broker's pod has. */}}
{{- define "chronik.brokers" -}}
app.kubernetes.io/name: chronik
app.kubernetes.io/component: broker
{{- end -}}

{{- define "chronik.labels" -}}
{{ include "chronik.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "chronik.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}

{{/* Role in each watched namespace, or ClusterRole for all. */}}
{{- define "chronik.roleKind" -}}
{{ if .Values.watchNamespaces }}Role{{ else }}ClusterRole{{ end }}
{{- end -}}

{{- define "chronik.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "chronik.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Labels of what is picked up by monitoring. */}}
{{- define "chronik.monitoringLabels" -}}
{{ include "chronik.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
