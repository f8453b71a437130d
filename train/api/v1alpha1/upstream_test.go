package v1alpha1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/assets"
	"github.com/mlstudio/studio/test/upstream"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// kinds that the examples use.
var kinds = map[string]func() any{
	"TrainJob":               func() any { return new(v1alpha1.TrainJob) },
	"TrainingRuntime":        func() any { return new(v1alpha1.TrainingRuntime) },
	"ClusterTrainingRuntime": func() any { return new(v1alpha1.ClusterTrainingRuntime) },
	"JobSet":                 func() any { return new(jobsetv1alpha2.JobSet) },
}

// old-fields.yaml is there to be refused.
func refused(file string) bool { return filepath.Base(file) == "old-fields.yaml" }

func TestUpstreamManifestsDecodeStrictly(t *testing.T) {
	files := append(upstream.Files(t, ".yaml", "trainer", "examples", "v2"), upstream.Files(t, ".yaml", "trainer", "runtimes")...)
	decoded := 0
	for _, f := range files {
		for _, doc := range documents(t, f) {
			var m metav1.TypeMeta
			if err := yaml.Unmarshal(doc, &m); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			into, ok := kinds[m.Kind]
			if !ok {
				continue
			}
			err := yaml.UnmarshalStrict(doc, into())
			if refused(f) {
				if err == nil {
					t.Errorf("%s: a string numProcPerNode was accepted", f)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %s: %v", f, m.Kind, err)
			}
			decoded++
		}
	}
	if decoded < 30 {
		t.Errorf("only %d objects were found: the examples are not all there", decoded)
	}
}

func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var docs [][]byte
	for r := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		docs = append(docs, doc)
	}
}

// beyond are schema paths where ours says more than upstream's on purpose.
func beyond(path string) bool {
	// Types of a newer Kubernetes have newer fields.
	if strings.Contains(path, ".template.spec.template.spec.") || strings.HasSuffix(path, ".replicatedJobs.template.spec.scheduling") || strings.Contains(path, ".volumeClaimPolicies.templates.") {
		return true
	}
	for _, own := range []string{
		// Former fields, kept so that they are not lost without a word.
		".spec.podSpecOverrides", ".spec.podTemplateOverrides", ".spec.labels", ".spec.annotations",
		".spec.mlPolicy.torch.numProcPerNode", ".spec.mlPolicy.torch.elasticPolicy",
	} {
		if path == own {
			return true
		}
	}
	return false
}

// TestCRDsHaveUpstreamsFields holds our CRDs against the published ones: every
// field, of the same type, with the same limits and defaults.
func TestCRDsHaveUpstreamsFields(t *testing.T) {
	for _, name := range []string{"trainjobs", "trainingruntimes", "clustertrainingruntimes"} {
		t.Run(name, func(t *testing.T) {
			file := "trainer.kubeflow.org_" + name + ".yaml"
			raw, err := os.ReadFile(filepath.Join(upstream.Dir(t, "trainer", "crds", "v2"), file))
			if err != nil {
				t.Fatal(err)
			}
			own, err := assets.CRDs.ReadFile("crds/" + file)
			if err != nil {
				t.Fatal(err)
			}
			theirs, ours := crd(t, raw), crd(t, own)
			if !reflect.DeepEqual(theirs.Spec.Names, ours.Spec.Names) || theirs.Spec.Scope != ours.Spec.Scope {
				t.Errorf("names are %+v, want %+v", ours.Spec.Names, theirs.Spec.Names)
			}
			a, b := theirs.Spec.Versions[0], ours.Spec.Versions[0]
			if !reflect.DeepEqual(a.AdditionalPrinterColumns, b.AdditionalPrinterColumns) {
				t.Errorf("columns are %+v, want %+v", b.AdditionalPrinterColumns, a.AdditionalPrinterColumns)
			}
			compare(t, "", *a.Schema.OpenAPIV3Schema, *b.Schema.OpenAPIV3Schema)
		})
	}
}

func crd(t *testing.T, raw []byte) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	c := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(raw, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func compare(t *testing.T, path string, want, got apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	for name, w := range want.Properties {
		g, ok := got.Properties[name]
		if !ok {
			t.Errorf("%s.%s is missing", path, name)
			continue
		}
		compare(t, path+"."+name, w, g)
	}
	for name := range got.Properties {
		if _, ok := want.Properties[name]; !ok && !beyond(path+"."+name) {
			t.Errorf("%s.%s is not upstream's", path, name)
		}
	}
	if want.Items != nil && want.Items.Schema != nil && got.Items != nil && got.Items.Schema != nil {
		compare(t, path, *want.Items.Schema, *got.Items.Schema)
	}
	for what, pair := range map[string][2]any{
		"type": {want.Type, got.Type}, "enum": {want.Enum, got.Enum},
		"default": {want.Default, got.Default}, "maxItems": {want.MaxItems, got.MaxItems}, "minItems": {want.MinItems, got.MinItems},
		"maxLength": {want.MaxLength, got.MaxLength}, "minLength": {want.MinLength, got.MinLength},
		"minimum": {want.Minimum, got.Minimum}, "maximum": {want.Maximum, got.Maximum},
		"minProperties": {want.MinProperties, got.MinProperties}, "list type": {want.XListType, got.XListType}, "list keys": {want.XListMapKeys, got.XListMapKeys},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %s is %v, want %v", path, what, show(pair[1]), show(pair[0]))
		}
	}
	for _, rule := range want.XValidations {
		if !hasText(got.XValidations, rule.Message) {
			t.Errorf("%s: no rule says %q", path, rule.Message)
		}
	}
}

func hasText(rules apiextensionsv1.ValidationRules, text string) bool {
	for _, r := range rules {
		if r.Message == text {
			return true
		}
	}
	return false
}

func show(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		return r.Elem().Interface()
	}
	return v
}
