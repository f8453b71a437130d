// Package projects keeps what the embedded node must know of a user's project
// to stand in for its image: which folders its pods see and what environment
// they start with. One JSON file a project, in the part of the data directory
// that the node half sees.
package projects

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// Annotation on a pod names its project's ID.
const Annotation = "studio.mlstudio.dev/project"

// HomeInPod is where a project's persistent home folder appears in its pods.
const HomeInPod = "/home/studio"

// Mount is a folder of the host that the project's pods see, at its own path
// unless At names another.
type Mount struct {
	Path     string `json:"path"`
	At       string `json:"at,omitempty"`
	ReadOnly bool   `json:"readOnly"`
}

// Target is where pods see the folder.
func (m Mount) Target() string {
	if m.At != "" {
		return m.At
	}
	return m.Path
}

// Project is one registered project.
type Project struct {
	// ID is a DNS label, unique on this machine: see NewID.
	ID string `json:"id"`
	// Name as in studio.yaml.
	Name string `json:"name"`
	// Dir is the project's folder, mounted writable at its own path; the working
	// directory of containers that set none.
	Dir string `json:"dir"`
	// Mounts are further folders: interpreter prefixes, data.
	Mounts []Mount `json:"mounts,omitempty"`
	// PathPrepend goes before the container's PATH.
	PathPrepend []string `json:"pathPrepend,omitempty"`
	// Env holds defaults; what the container sets wins.
	Env map[string]string `json:"env,omitempty"`
}

var notLabel = regexp.MustCompile(`[^a-z0-9]+`)

// NewID makes the ID of a project: its name and a hash of its folder, so that
// two folders of one name stay apart.
func NewID(name, dir string) string {
	label := strings.Trim(notLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if len(label) > 40 {
		label = strings.Trim(label[:40], "-")
	}
	if label == "" {
		label = "project"
	}
	sum := sha256.Sum256([]byte(dir))
	return label + "-" + hex.EncodeToString(sum[:4])
}

var idForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// Validate checks what a client sent: an ID that is a plain file name, and absolute, clean paths.
func (p Project) Validate() error {
	if !idForm.MatchString(p.ID) || len(p.ID) > 63 {
		return fmt.Errorf("project ID %q: want lower case letters, digits and dashes, at most 63", p.ID)
	}
	for _, path := range p.Paths() {
		for _, at := range []string{path.Path, path.Target()} {
			if !filepath.IsAbs(at) || filepath.Clean(at) != at || at == "/" {
				return fmt.Errorf("project %s: %q must be an absolute path below /", p.ID, at)
			}
		}
	}
	return nil
}

// Paths lists every folder of the host that the project opens.
func (p Project) Paths() []Mount {
	return append([]Mount{{Path: p.Dir}}, p.Mounts...)
}

// Save stores a project and makes its home folder.
func Save(d datadir.Dir, p Project) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.Home(p.ID), 0o700); err != nil {
		return fmt.Errorf("making the home folder of project %s: %w", p.ID, err)
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return datadir.WriteFile(filepath.Join(d.Projects(), p.ID+".json"), append(raw, '\n'), 0o600)
}

// ErrUnknown means that no project of that ID is registered.
var ErrUnknown = errors.New("no such project is registered; `studio run` in its folder registers it")

// Load reads one project. An unknown one gives an error that wraps ErrUnknown.
func Load(d datadir.Dir, id string) (*Project, error) {
	if !idForm.MatchString(id) {
		return nil, fmt.Errorf("project %q: %w", id, ErrUnknown)
	}
	raw, err := os.ReadFile(filepath.Join(d.Projects(), id+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("project %q: %w", id, ErrUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("reading project %q: %w", id, err)
	}
	p := new(Project)
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("reading project %q: %w", id, err)
	}
	return p, nil
}

// List reads all registered projects.
func List(d datadir.Dir) ([]*Project, error) {
	files, err := filepath.Glob(filepath.Join(d.Projects(), "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Project
	for _, f := range files {
		p, err := Load(d, strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}
