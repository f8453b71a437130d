package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/netpolicy"
)

func networkPolicies(ctx context.Context, m machine) verdict {
	if _, err := client.New(m.dir).State(ctx); err != nil {
		return ok("looked at while the engine runs")
	}
	said, err := netpolicy.Warning(ctx, m.dir.Kubeconfig())
	switch {
	case err != nil:
		return info("the API server did not tell: "+err.Error(), "")
	case said != "":
		return warning(said, "run what must be walled off on a cluster whose network enforces them")
	}
	return ok("none, so all pods reach each other")
}

// addresses looks for networks that this machine joined after the cluster's
// ranges were chosen: pods do not reach hosts in them.
func addresses(_ context.Context, m machine) verdict {
	n, err := network.Load(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ok("chosen at the first start")
	}
	if err != nil {
		return broken(err.Error(), "studio delete")
	}
	hidden, err := n.Overlaps()
	if err != nil {
		return info(err.Error(), "")
	}
	if len(hidden) > 0 {
		return warning(fmt.Sprintf("pods use %s, services %s, and this machine has now a network %s: pods do not reach it", n.PodCIDR, n.ServiceCIDR, hidden[0]),
			"leave that network (a VPN?), or `studio delete` and `studio up`, which chooses other ranges")
	}
	return ok(fmt.Sprintf("pods %s, services %s", n.PodCIDR, n.ServiceCIDR))
}
