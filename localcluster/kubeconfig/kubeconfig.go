// Package kubeconfig puts the cluster's credentials into a person's own
// kubeconfig without losing anything that is there: comments, unknown fields,
// other clusters and the current context stay as they are.
package kubeconfig

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// extension marks the entries that Studio wrote and may write again.
const extension = "studio.mlstudio.dev"

// Target is the file that a merge writes: the first of KUBECONFIG that exists,
// else the first, else ~/.kube/config.
func Target() (string, error) {
	first := ""
	for _, path := range filepath.SplitList(os.Getenv("KUBECONFIG")) {
		if path == "" {
			continue
		}
		if first == "" {
			first = path
		}
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if first != "" {
		return first, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding your kubeconfig: %w; set KUBECONFIG", err)
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// Merge adds the cluster of an admin kubeconfig to the file at target and
// returns the name of the context it has there: studio, or studio-<hash> where
// that name is taken by something else. The current context is not touched. The
// file is replaced as a whole, readable by its owner only.
func Merge(target string, admin []byte, dataDir string) (context string, err error) {
	target, err = realPath(target)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return "", fmt.Errorf("writing %s: %w", target, err)
	}
	unlock, err := lock(target)
	if err != nil {
		return "", err
	}
	defer unlock()
	raw, err := os.ReadFile(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading your kubeconfig: %w", err)
	}
	merged, context, err := merge(raw, admin, dataDir)
	if err != nil {
		return "", fmt.Errorf("merging into %s: %w", target, err)
	}
	return context, datadir.WriteFile(target, merged, 0o600)
}

// realPath follows a link, so that a linked kubeconfig stays one.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading your kubeconfig: %w", err)
	}
	return real, nil
}

// lock uses the file that kubectl and client-go use, too.
func lock(target string) (unlock func(), err error) {
	path := target + ".lock"
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("another program is writing %s; run again, or remove %s if none is", target, path)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", target, err)
	}
	f.Close()
	return func() { os.Remove(path) }, nil
}

// names picks the entries' name: studio if free or Studio's own of this data directory.
func name(doc *yaml.Node, dataDir string) string {
	const plain = "studio"
	taken := false
	for _, list := range []string{"clusters", "users", "contexts"} {
		item := find(doc, list, plain)
		if item != nil && owner(item) != dataDir {
			taken = true
		}
	}
	if !taken {
		return plain
	}
	sum := sha256.Sum256([]byte(dataDir))
	return plain + "-" + hex.EncodeToString(sum[:3])
}

// merge works on the text's own tree, which keeps comments and order.
func merge(raw, admin []byte, dataDir string) (merged []byte, context string, err error) {
	from, err := parse(admin)
	if err != nil {
		return nil, "", fmt.Errorf("reading the engine's kubeconfig: %w", err)
	}
	into, err := parse(raw)
	if err != nil {
		return nil, "", err
	}
	for _, field := range [][2]string{{"apiVersion", "v1"}, {"kind", "Config"}} {
		if value(into, field[0]) == nil {
			set(into, field[0], text(field[1]))
		}
	}
	entry := name(into, dataDir)
	for _, e := range []struct{ list, field string }{{"clusters", "cluster"}, {"users", "user"}} {
		item := first(from, e.list)
		if item == nil || value(item, e.field) == nil {
			return nil, "", fmt.Errorf("the engine's kubeconfig has no %s; run `studio up`", e.list)
		}
		put(into, e.list, entry, e.field, mark(value(item, e.field), dataDir))
	}
	link := &yaml.Node{Kind: yaml.MappingNode}
	set(link, "cluster", text(entry))
	set(link, "user", text(entry))
	if old := find(into, "contexts", entry); old != nil {
		if ns := value(value(old, "context"), "namespace"); ns != nil {
			set(link, "namespace", ns) // chosen by the person since
		}
	}
	put(into, "contexts", entry, "context", mark(link, dataDir))
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(into); err != nil {
		return nil, "", err
	}
	return out.Bytes(), entry, enc.Close()
}
