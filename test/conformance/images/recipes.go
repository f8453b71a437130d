package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recipe is what one image consists of.
type recipe struct {
	// debian: the Debian tree is its first layer.
	debian bool
	files  []file
	config v1.Config
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (r recipe) image(s *sources) (v1.Image, error) {
	var layers []v1.Layer
	if r.debian {
		base, err := s.layer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, base)
	}
	if len(r.files) > 0 {
		own, err := layerOf(r.files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, own)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), layers...)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture, f.Config = "linux", runtime.GOARCH, r.config
	f.Config.Env = []string{searchPath}
	return mutate.ConfigFile(img, f)
}

// recipes by the last part of an image's name. What each must hold is seen from
// the tests that use it and from upstream's Dockerfiles.
func (s *sources) recipes() (map[string]recipe, error) {
	users, err := s.addUsers()
	if err != nil {
		return nil, err
	}
	busybox, err := s.busybox()
	if err != nil {
		return nil, err
	}
	program := func(name, to string, mode os.FileMode) file {
		return file{path: to, mode: mode, from: filepath.Join(s.programs, name)}
	}
	data := func(from, to string) file {
		return file{path: to, mode: 0o644, from: filepath.Join(s.upstream, from)}
	}
	agnhost := append([]file{
		program("agnhost", "agnhost", 0o755),
		{path: "agnhost-2", link: "agnhost"},
		{path: "uploads", mode: os.ModeDir | 0o755},
		data("agnhost/porter/localhost.crt", "localhost.crt"),
		data("agnhost/porter/localhost.key", "localhost.key"),
	}, users...)
	pet := func(name string) recipe {
		return recipe{
			debian: true,
			files:  append([]file{data(name+"/html/"+name+".jpg", name+".jpg"), data(name+"/html/data.json", "data.json")}, agnhost...),
			config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"test-webserver"}},
		}
	}
	ports := map[string]struct{}{}
	for _, p := range []string{"80", "5000", "8080", "8081", "9376"} {
		ports[p+"/tcp"] = struct{}{}
	}
	return map[string]recipe{
		"agnhost": {
			debian: true, files: agnhost,
			config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, ExposedPorts: ports},
		},
		"busybox": busybox,
		"etcd": {
			debian: true, files: []file{program("etcd", "usr/local/bin/etcd", 0o755)},
			config: v1.Config{Entrypoint: []string{"/usr/local/bin/etcd"}},
		},
		"glibc-dns-testing": {debian: true, config: v1.Config{Cmd: []string{"sleep", "infinity"}}},
		"kitten":            pet("kitten"),
		"nautilus":          pet("nautilus"),
		"nginx": {
			debian: true,
			// What it logs belongs to the container's log.
			files: []file{
				{path: "var/log/nginx/access.log", link: "/dev/stdout"},
				{path: "var/log/nginx/error.log", link: "/dev/stderr"},
			},
			config: v1.Config{Cmd: []string{"nginx", "-g", "daemon off;"}},
		},
		"nonewprivs": {
			debian: true, files: []file{program("nonewprivs", "usr/local/bin/nnp", os.ModeSetuid|os.ModeSetgid|0o755)},
			config: v1.Config{Cmd: []string{"nnp"}},
		},
		"nonroot": {debian: true, config: v1.Config{User: "1234"}},
		"pause": {
			files:  []file{program("pause", "pause", 0o755)},
			config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		},
		"perl": {debian: true, config: v1.Config{Cmd: []string{"perl", "-v"}}},
		"regression-issue-74839": {
			debian: true, files: []file{program("regression-issue-74839", "regression-issue-74839", 0o755)},
			config: v1.Config{Entrypoint: []string{"/regression-issue-74839"}},
		},
		"sample-apiserver": {
			debian: true, files: []file{program("sample-apiserver", "sample-apiserver", 0o755)},
			config: v1.Config{Entrypoint: []string{"/sample-apiserver"}},
		},
	}, nil
}

// addUsers gives agnhost the user and the group that tests of supplementary
// groups expect in the image.
func (s *sources) addUsers() ([]file, error) {
	var files []file
	for _, f := range []struct{ path, line string }{
		{"etc/passwd", "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"},
		{"etc/group", "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"},
	} {
		old, err := s.read(f.path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: f.path, mode: 0o644, content: append(old, f.line...)})
	}
	return files, nil
}

// busybox is Debian's, with bash as its shell: tests want environment names
// with dashes handed on, which Debian's build of ash drops.
func (s *sources) busybox() (recipe, error) {
	binary, err := s.read("usr/bin/busybox")
	if err != nil {
		return recipe{}, err
	}
	bash, err := s.read("usr/bin/bash-static")
	if err != nil {
		return recipe{}, err
	}
	applets, err := appletsOf(binary)
	if err != nil {
		return recipe{}, err
	}
	files := []file{
		{path: "bin/busybox", mode: 0o755, content: binary},
		{path: "bin/bash", mode: 0o755, content: bash},
		{path: "bin/sh", link: "bash"},
		{path: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{path: "etc/group", mode: 0o644, content: []byte("root:x:0:\n")},
		{path: "tmp", mode: os.ModeDir | os.ModeSticky | 0o777},
	}
	for _, dir := range []string{"home", "root", "var"} {
		files = append(files, file{path: dir, mode: os.ModeDir | 0o755})
	}
	for _, a := range applets {
		if a != "sh" && a != "bash" && a != "busybox" {
			files = append(files, file{path: "bin/" + a, link: "busybox"})
		}
	}
	return recipe{files: files, config: v1.Config{Cmd: []string{"sh"}}}, nil
}

// appletsOf asks the program itself.
func appletsOf(busybox []byte) ([]string, error) {
	dir, err := os.MkdirTemp("", "busybox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "busybox")
	if err := os.WriteFile(program, busybox, 0o755); err != nil {
		return nil, err
	}
	out, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking busybox for its applets: %w", err)
	}
	return strings.Fields(string(out)), nil
}
