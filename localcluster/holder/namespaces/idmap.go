package namespaces

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// idRange is one line of /etc/subuid or /etc/subgid.
type idRange struct{ start, size int }

// idRanges are a user's subordinate ids and the programs that may map them.
type idRanges struct {
	uids, gids           []idRange
	newuidmap, newgidmap string
}

// subordinate finds the user's ranges; ok is false where the helpers or the
// ranges are missing.
func subordinate() (r idRanges, ok bool) {
	var err error
	if r.newuidmap, err = exec.LookPath("newuidmap"); err != nil {
		return r, false
	}
	if r.newgidmap, err = exec.LookPath("newgidmap"); err != nil {
		return r, false
	}
	r.uids = readRanges("/etc/subuid", os.Getuid())
	r.gids = readRanges("/etc/subgid", os.Getuid())
	return r, len(r.uids) > 0 && len(r.gids) > 0
}

func readRanges(path string, uid int) []idRange {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseRanges(f, userName(), uid)
}

// parseRanges reads the lines "name-or-uid:start:size" of one user.
func parseRanges(r io.Reader, name string, uid int) []idRange {
	var ranges []idRange
	for s := bufio.NewScanner(r); s.Scan(); {
		f := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(f) != 3 || f[0] != strconv.Itoa(uid) && (name == "" || f[0] != name) {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		size, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && size > 0 {
			ranges = append(ranges, idRange{start, size})
		}
	}
	return ranges
}

// mapArgs are newuidmap's arguments: the caller is root inside, its ranges
// follow from 1.
func mapArgs(pid, own int, ranges []idRange) []string {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	next := 1
	for _, r := range ranges {
		args = append(args, strconv.Itoa(next), strconv.Itoa(r.start), strconv.Itoa(r.size))
		next += r.size
	}
	return args
}

func (r idRanges) write(pid int) error {
	for _, c := range [][]string{
		append([]string{r.newuidmap}, mapArgs(pid, os.Getuid(), r.uids)...),
		append([]string{r.newgidmap}, mapArgs(pid, os.Getgid(), r.gids)...),
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
