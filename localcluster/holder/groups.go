package holder

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/mlstudio/studio/localcluster/cgroup"
)

// GroupsDir is where the pods' control group appears in the node; it is missing
// where there is none.
const GroupsDir = "/run/studio/cgroup"

// envGroupFD names the descriptor on which Spawn tells the holder its pods' group.
const envGroupFD = "STUDIO_HOLDER_GROUP_FD"

// awaitGroup reads what Spawn says once it knows the holder's process id.
func awaitGroup() (g cgroup.Group, err error) {
	fd, err := strconv.Atoi(os.Getenv(envGroupFD))
	if err != nil {
		return g, nil
	}
	os.Unsetenv(envGroupFD)
	f := os.NewFile(uintptr(fd), "group")
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&g); err != nil {
		return g, fmt.Errorf("reading the pods' control group: %w", err)
	}
	return g, nil
}

// groups shows the node its pods' control group at GroupsDir.
func (r root) groups(base string) error { return r.group.Show(base, GroupsDir) }
