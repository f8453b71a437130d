package metrics

import (
	"context"
	"encoding/json"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

var group = metricsv1.SchemeGroupVersion

// root is where the API server finds the version.
var root = "/apis/" + group.Group + "/" + group.Version

func (s *server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /apis/"+group.Group, func(w http.ResponseWriter, _ *http.Request) {
		v := metav1.GroupVersionForDiscovery{GroupVersion: group.String(), Version: group.Version}
		answer(w, metav1.APIGroup{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
			Name:     group.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v,
		}, nil)
	})
	// Without these the API server asks again and again.
	m.HandleFunc("GET /openapi/v2", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"swagger": "2.0", "info": map[string]string{"title": group.Group, "version": group.Version}, "paths": map[string]any{}}, nil)
	})
	m.HandleFunc("GET /openapi/v3", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"paths": map[string]any{}}, nil)
	})
	m.HandleFunc("GET "+root, func(w http.ResponseWriter, _ *http.Request) { answer(w, discovery(), nil) })
	m.HandleFunc("GET "+root+"/nodes", func(w http.ResponseWriter, r *http.Request) {
		list := metricsv1.NodeMetricsList{TypeMeta: kind("NodeMetricsList")}
		var err error
		list.Items, err = filtered(r, s.nodes)
		answer(w, list, err)
	})
	m.HandleFunc("GET "+root+"/nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		one, err := single(r, "nodes", s.nodes)
		one.TypeMeta = kind("NodeMetrics")
		answer(w, one, err)
	})
	for _, path := range []string{"/pods", "/namespaces/{namespace}/pods"} {
		m.HandleFunc("GET "+root+path, func(w http.ResponseWriter, r *http.Request) {
			list := metricsv1.PodMetricsList{TypeMeta: kind("PodMetricsList")}
			var err error
			list.Items, err = filtered(r, s.pods)
			answer(w, list, err)
		})
	}
	m.HandleFunc("GET "+root+"/namespaces/{namespace}/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		one, err := single(r, "pods", s.pods)
		one.TypeMeta = kind("PodMetrics")
		answer(w, one, err)
	})
	return m
}

func kind(name string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: name, APIVersion: group.String()}
}

func discovery() metav1.APIResourceList {
	verbs := metav1.Verbs{"get", "list"}
	return metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group.String(),
		APIResources: []metav1.APIResource{
			{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
			{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
		},
	}
}

// object has metadata.
type object[T any] interface {
	*T
	metav1.Object
}

// filtered lists what a request selects by namespace, labels and name.
func filtered[T any, P object[T]](r *http.Request, list func(context.Context) ([]T, error)) ([]T, error) {
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	byField, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	for _, f := range byField.Requirements() {
		if f.Field != "metadata.name" && f.Field != "metadata.namespace" {
			return nil, apierrors.NewBadRequest("field label not supported: " + f.Field)
		}
	}
	all, err := list(r.Context())
	if err != nil {
		return nil, err
	}
	namespace := r.PathValue("namespace")
	out := make([]T, 0, len(all))
	for i := range all {
		o := P(&all[i])
		own := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
		if (namespace == "" || namespace == o.GetNamespace()) && byLabel.Matches(labels.Set(o.GetLabels())) && byField.Matches(own) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// single finds the one that the path names.
func single[T any, P object[T]](r *http.Request, resource string, list func(context.Context) ([]T, error)) (none T, err error) {
	all, err := filtered[T, P](r, list)
	if err != nil {
		return none, err
	}
	for i := range all {
		if P(&all[i]).GetName() == r.PathValue("name") {
			return all[i], nil
		}
	}
	return none, apierrors.NewNotFound(schema.GroupResource{Group: group.Group, Resource: resource}, r.PathValue("name"))
}

func answer(w http.ResponseWriter, value any, err error) {
	code := http.StatusOK
	if err != nil {
		status, ok := err.(apierrors.APIStatus)
		if !ok {
			status = apierrors.NewInternalError(err)
		}
		st := status.Status()
		st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		value, code = st, int(st.Code)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that left has no use for the rest.
	_ = json.NewEncoder(w).Encode(value)
}
