package controlplane

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/mlstudio/studio/localcluster/network"
)

// forever as a toleration: a laptop is one node, and one that sleeps is not to
// lose its pods.
const forever = "315360000"

func apiServerFlags(f files, bare bool) []string {
	flags := []string{
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(f.port),
		"--advertise-address=" + f.net.APIAddress.String(),
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + f.net.ServiceCIDR.String(),
		"--etcd-servers=" + f.state("").endpoint(),
		// kine compacts by itself, and asking it how many keys it has costs a scan.
		"--etcd-compaction-interval=0",
		"--etcd-count-metric-poll-period=0",
		"--etcd-db-metric-poll-interval=0",
		"--anonymous-auth=false",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + f.pki("ca.crt"),
		"--tls-cert-file=" + f.pki("apiserver.crt"),
		"--tls-private-key-file=" + f.pki("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		// As pods reach it: the port on loopback is not theirs.
		"--service-account-jwks-uri=https://" + net.JoinHostPort(f.net.APIAddress.String(), strconv.Itoa(network.APIPort)) + "/openid/v1/jwks",
		"--service-account-signing-key-file=" + f.pki("service-account.key"),
		"--service-account-key-file=" + f.pki("service-account.key"),
		"--requestheader-client-ca-file=" + f.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + f.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + f.pki("front-proxy-client.key"),
		"--default-not-ready-toleration-seconds=" + forever,
		"--default-unreachable-toleration-seconds=" + forever,
		"--profiling=false",
	}
	if !bare {
		flags = append(flags,
			"--etcd-servers-overrides=/events#"+f.transient().endpoint()+",coordination.k8s.io/leases#"+f.transient().endpoint(),
			"--egress-selector-config-file="+f.egress(),
			"--kubelet-preferred-address-types=InternalIP",
			"--kubelet-certificate-authority="+f.pki("ca.crt"),
			"--kubelet-client-certificate="+f.pki("apiserver-kubelet-client.crt"),
			"--kubelet-client-key="+f.pki("apiserver-kubelet-client.key"),
		)
	}
	return flags
}

func parse(sets cliflag.NamedFlagSets, flags []string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	return all.Parse(flags)
}

// prepareAPIServer returns what serves until its context ends.
func prepareAPIServer(ctx context.Context, f files, bare bool) (func(context.Context) error, error) {
	s := apiserveroptions.NewServerRunOptions()
	if err := parse(s.Flags(), apiServerFlags(f, bare)); err != nil {
		return nil, fmt.Errorf("setting up the API server: %w", err)
	}
	// The registry of feature gates is one for the whole process; the controller
	// manager and the scheduler see what is set here.
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("setting up the API server: %w", err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := s.Complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up the API server: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("setting up the API server: %w", utilerrors.NewAggregate(errs))
	}
	return func(ctx context.Context) error { return apiserver.Run(ctx, completed) }, nil
}
