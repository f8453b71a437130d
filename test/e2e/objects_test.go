//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
)

var trainJobs = schema.GroupVersionResource{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"}

// shell is a pod that runs a script once, or until it is ended.
func shell(name, script string) *corev1.Pod {
	no, grace := false, int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			AutomountServiceAccountToken:  &no,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: "host", Command: []string{"/bin/sh", "-c", script}}},
		},
	}
}

// start creates a pod. The default service account is made by a controller
// right after the first start, so an early refusal is tried again.
func (e *engine) start(p *corev1.Pod) {
	e.t.Helper()
	e.eventually("creating pod "+p.Name, func(ctx context.Context) (bool, error) {
		_, err := e.client().CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "serviceaccount") {
			return false, nil
		}
		return err == nil, err
	})
}

// await returns the pod once it is as wanted.
func (e *engine) await(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	e.t.Helper()
	var last *corev1.Pod
	e.eventually(fmt.Sprintf("pod %s to be %s", name, what), func(ctx context.Context) (bool, error) {
		p, err := e.client().CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		last = p
		return ok(p), nil
	}, func() string { return describe(last) })
	return last
}

func running(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func describe(p *corev1.Pod) string {
	if p == nil {
		return "it was never seen"
	}
	s := fmt.Sprintf("phase %s %s %s", p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.ContainerStatuses {
		s += fmt.Sprintf("; container %s restarts %d state %+v", c.Name, c.RestartCount, c.State)
	}
	return s
}

// output runs a pod to its end and returns what it printed.
func (e *engine) output(p *corev1.Pod) string {
	e.t.Helper()
	e.start(p)
	last := e.await(p.Name, "ended", ended)
	out := e.logs(p.Name)
	if last.Status.Phase != corev1.PodSucceeded {
		e.t.Fatalf("pod %s: %s\n%s", p.Name, describe(last), out)
	}
	return out
}

// logs are all that the pod printed. Right after a start the kubelet may not
// know the pod yet, so a refusal is tried again.
func (e *engine) logs(pod string) string {
	e.t.Helper()
	var out []byte
	e.eventually("the log of "+pod, func(ctx context.Context) (bool, error) {
		r, err := e.client().CoreV1().Pods("default").GetLogs(pod, &corev1.PodLogOptions{}).Stream(ctx)
		if err != nil {
			return false, err
		}
		defer r.Close()
		out, err = io.ReadAll(r)
		return err == nil, err
	})
	return string(out)
}

// eventually waits for a condition; errors are tried again, and told when time is up.
func (e *engine) eventually(what string, ok func(context.Context) (bool, error), seen ...func() string) {
	e.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		done, err := ok(ctx)
		last = err
		return done && err == nil, nil
	})
	if err != nil {
		text := ""
		for _, s := range seen {
			text += "; " + s()
		}
		e.t.Fatalf("waiting for %s: %v (last error: %v)%s", what, err, last, text)
	}
}

// condition returns a TrainJob's condition, "" and false where it is not true.
func condition(job *unstructured.Unstructured, kind string) (reason, message string, ok bool) {
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	for _, c := range conditions {
		c, isMap := c.(map[string]any)
		if isMap && c["type"] == kind && c["status"] == "True" {
			reason, _ := c["reason"].(string)
			message, _ := c["message"].(string)
			return reason, message, true
		}
	}
	return "", "", false
}

// write puts a file into a folder, making what is missing above it.
func write(t *testing.T, folder, name, content string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
