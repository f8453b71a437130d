package compose

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// policy is how the processes of a training step find each other.
type policy interface {
	// apply adds to the template what the processes need.
	apply(*job)
	// check finds what the policy can not work with.
	check(*job) field.ErrorList
}

// policyOf returns the policy that the runtime asks for. Those that Studio does
// not serve are told by unsupported and never come here.
func policyOf(p *v1alpha1.MLPolicy) policy {
	if p != nil && p.Torch != nil {
		return torch{}
	}
	return plain{}
}

// plain tells the processes nothing.
type plain struct{}

func (plain) apply(*job)                 {}
func (plain) check(*job) field.ErrorList { return nil }
