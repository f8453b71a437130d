package launch

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const plainJob = `apiVersion: batch/v1
kind: Job
metadata:
  generateName: train-
spec:
  backoffLimit: 0
  template:
    spec:
      automountServiceAccountToken: false
      containers:
      - command:
        - python3
        - train.py
        image: python:3.11-slim
        name: main
      restartPolicy: Never
  ttlSecondsAfterFinished: 604800
`

const fullJob = `apiVersion: batch/v1
kind: Job
metadata:
  name: it
  namespace: team
spec:
  backoffLimit: 0
  template:
    spec:
      automountServiceAccountToken: false
      containers:
      - command:
        - bash
        - go.sh
        env:
        - name: A
          value: b
        - name: KEY
          valueFrom:
            secretKeyRef:
              key: KEY
              name: t
        envFrom:
        - secretRef:
            name: s
        name: main
        resources:
          limits:
            cpu: 500m
            memory: 4Gi
            nvidia.com/gpu: "2"
        volumeMounts:
        - mountPath: /in
          name: data
          readOnly: true
        - mountPath: /out
          name: data
      restartPolicy: Never
      volumes:
      - name: data
        persistentVolumeClaim:
          claimName: data
  ttlSecondsAfterFinished: 604800
`

func TestJob(t *testing.T) {
	launcher, err := Set(Builtin()).For("job")
	if err != nil {
		t.Fatal(err)
	}
	for want, spec := range map[string]Spec{
		plainJob: {GenerateName: "train-", Command: []string{"python3", "train.py"}, Image: "python:3.11-slim", Nodes: 1},
		fullJob: {Name: "it", Namespace: "team", Command: []string{"bash", "go.sh"}, CPU: "500m", Memory: "4Gi", GPUs: 2,
			Env: []corev1.EnvVar{{Name: "A", Value: "b"}}, Secrets: []Secret{{Name: "s"}, {Name: "t", Key: "KEY"}},
			Volumes: []Volume{{Claim: "data", Path: "/in", ReadOnly: true}, {Claim: "data", Path: "/out"}}},
	} {
		u, err := launcher.Object(spec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := yaml.Marshal(u.Object)
		if err != nil || string(got) != want {
			t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	launcher := Builtin()[0]
	for want, spec := range map[string]Spec{
		"a Job runs on one node, not on 2": {Nodes: 2},
		`cpu "two" is no quantity`:         {CPU: "two"},
		`memory "-4Gi" is no quantity`:     {Memory: "-4Gi"},
		`memory "0" is no quantity`:        {Memory: "0"},
	} {
		if _, err := launcher.Object(spec); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Set(Builtin()).For("jib"); err == nil || err.Error() != `nothing runs as "jib"; known here: job` {
		t.Error(err)
	}
}
