package jobset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	webhookadmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/jobset/pkg/webhooks"
)

// admission calls the validation of upstream's webhook without a web server.
type admission struct{ validator *webhookadmission.Webhook }

// validatePath is where upstream serves it.
const validatePath = "/validate-jobset-x-k8s-io-v1alpha2-jobset"

func newAdmission(mgr ctrl.Manager) (*admission, error) {
	c := &catcher{mux: http.NewServeMux(), hooks: map[string]*webhookadmission.Webhook{}}
	if err := webhooks.Setup(catching{mgr, c}); err != nil {
		return nil, fmt.Errorf("setting up JobSet's validation: %w", err)
	}
	v, ok := c.hooks[validatePath]
	if !ok {
		return nil, errors.New("setting up JobSet's validation: upstream registers no " + validatePath)
	}
	return &admission{validator: v}, nil
}

// validate judges the JobSet as one that is being created.
func (a *admission) validate(ctx context.Context, js *jobsetv1alpha2.JobSet) error {
	raw, err := json.Marshal(js)
	if err != nil {
		return err
	}
	resp := a.validator.Handle(ctx, webhookadmission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: js.UID, Name: js.Name, Namespace: js.Namespace,
		Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
	}})
	if resp.Allowed {
		return nil
	}
	if resp.Result != nil && resp.Result.Message != "" {
		return errors.New(resp.Result.Message)
	}
	return errors.New("JobSet's validation refused it without a reason")
}

// catching is a manager that gives out a catcher for a web server.
type catching struct {
	ctrl.Manager
	server *catcher
}

// GetWebhookServer returns the catcher.
func (c catching) GetWebhookServer() webhook.Server { return c.server }

// catcher keeps webhooks instead of serving them.
type catcher struct {
	mux   *http.ServeMux
	hooks map[string]*webhookadmission.Webhook
}

// Register keeps the webhook.
func (c *catcher) Register(path string, hook http.Handler) {
	if w, ok := hook.(*webhookadmission.Webhook); ok {
		c.hooks[path] = w
	}
}

// Start has nothing to serve.
func (c *catcher) Start(context.Context) error { return nil }

// NeedLeaderElection: nothing here needs it.
func (c *catcher) NeedLeaderElection() bool { return false }

// StartedChecker: there is nothing to wait for.
func (c *catcher) StartedChecker() healthz.Checker { return healthz.Ping }

// WebhookMux serves nothing; the builder looks whether a path is taken.
func (c *catcher) WebhookMux() *http.ServeMux { return c.mux }
