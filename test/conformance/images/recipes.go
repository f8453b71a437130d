package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/mlstudio/studio/test/ociimage"
)

// sources are the places that images are made from.
type sources struct {
	base               *ociimage.Base
	programs, upstream string
}

// recipes by the last part of an image's name. What each must hold is seen from
// the tests that use it and from upstream's Dockerfiles.
func (s *sources) recipes() (map[string]ociimage.Recipe, error) {
	users, err := s.addUsers()
	if err != nil {
		return nil, err
	}
	busybox, err := s.busybox()
	if err != nil {
		return nil, err
	}
	program := func(name, to string, mode os.FileMode) ociimage.File {
		return ociimage.File{Path: to, Mode: mode, From: filepath.Join(s.programs, name)}
	}
	data := func(from, to string) ociimage.File {
		return ociimage.File{Path: to, Mode: 0o644, From: filepath.Join(s.upstream, from)}
	}
	agnhost := append([]ociimage.File{
		program("agnhost", "agnhost", 0o755),
		{Path: "agnhost-2", Link: "agnhost"},
		{Path: "uploads", Mode: os.ModeDir | 0o755},
		data("agnhost/porter/localhost.crt", "localhost.crt"),
		data("agnhost/porter/localhost.key", "localhost.key"),
	}, users...)
	pet := func(name string) ociimage.Recipe {
		return ociimage.Recipe{
			Base:   s.base,
			Files:  append([]ociimage.File{data(name+"/html/"+name+".jpg", name+".jpg"), data(name+"/html/data.json", "data.json")}, agnhost...),
			Config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"test-webserver"}},
		}
	}
	ports := map[string]struct{}{}
	for _, p := range []string{"80", "5000", "8080", "8081", "9376"} {
		ports[p+"/tcp"] = struct{}{}
	}
	return map[string]ociimage.Recipe{
		"agnhost": {
			Base: s.base, Files: agnhost,
			Config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, ExposedPorts: ports},
		},
		"busybox": busybox,
		"etcd": {
			Base: s.base, Files: []ociimage.File{program("etcd", "usr/local/bin/etcd", 0o755)},
			Config: v1.Config{Entrypoint: []string{"/usr/local/bin/etcd"}},
		},
		"glibc-dns-testing": {Base: s.base, Config: v1.Config{Cmd: []string{"sleep", "infinity"}}},
		"kitten":            pet("kitten"),
		"nautilus":          pet("nautilus"),
		"nginx": {
			Base: s.base,
			// What it logs belongs to the container's log.
			Files: []ociimage.File{
				{Path: "var/log/nginx/access.log", Link: "/dev/stdout"},
				{Path: "var/log/nginx/error.log", Link: "/dev/stderr"},
			},
			Config: v1.Config{Cmd: []string{"nginx", "-g", "daemon off;"}},
		},
		"nonewprivs": {
			Base: s.base, Files: []ociimage.File{program("nonewprivs", "usr/local/bin/nnp", os.ModeSetuid|os.ModeSetgid|0o755)},
			Config: v1.Config{Cmd: []string{"nnp"}},
		},
		"nonroot": {Base: s.base, Config: v1.Config{User: "1234"}},
		"pause": {
			Files:  []ociimage.File{program("pause", "pause", 0o755)},
			Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		},
		"perl": {Base: s.base, Config: v1.Config{Cmd: []string{"perl", "-v"}}},
		"regression-issue-74839": {
			Base: s.base, Files: []ociimage.File{program("regression-issue-74839", "regression-issue-74839", 0o755)},
			Config: v1.Config{Entrypoint: []string{"/regression-issue-74839"}},
		},
		"sample-apiserver": {
			Base: s.base, Files: []ociimage.File{program("sample-apiserver", "sample-apiserver", 0o755)},
			Config: v1.Config{Entrypoint: []string{"/sample-apiserver"}},
		},
	}, nil
}

// addUsers gives agnhost the user and the group that tests of supplementary
// groups expect in the image.
func (s *sources) addUsers() ([]ociimage.File, error) {
	var files []ociimage.File
	for _, f := range []struct{ path, line string }{
		{"etc/passwd", "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"},
		{"etc/group", "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"},
	} {
		old, err := s.base.Read(f.path)
		if err != nil {
			return nil, err
		}
		files = append(files, ociimage.File{Path: f.path, Mode: 0o644, Content: append(old, f.line...)})
	}
	return files, nil
}

// shell runs ash, whose messages tests compare, but bash where ash would drop
// an environment name that no variable of a shell can have: Debian's build does.
const shell = `#!/bin/bash
while IFS= read -r -d '' entry; do
  case ${entry%%=*} in
    *[!A-Za-z0-9_]* | [0-9]*) exec -a "$0" /bin/bash "$@" ;;
  esac
done </proc/self/environ
exec -a "$0" /bin/busybox "$@"
`

// busybox is Debian's.
func (s *sources) busybox() (ociimage.Recipe, error) {
	binary, err := s.base.Read("usr/bin/busybox")
	if err != nil {
		return ociimage.Recipe{}, err
	}
	bash, err := s.base.Read("usr/bin/bash-static")
	if err != nil {
		return ociimage.Recipe{}, err
	}
	applets, err := appletsOf(binary)
	if err != nil {
		return ociimage.Recipe{}, err
	}
	files := []ociimage.File{
		{Path: "bin/busybox", Mode: 0o755, Content: binary},
		{Path: "bin/bash", Mode: 0o755, Content: bash},
		{Path: "bin/sh", Mode: 0o755, Content: []byte(shell)},
		{Path: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{Path: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\n")},
		{Path: "tmp", Mode: os.ModeDir | os.ModeSticky | 0o777},
	}
	for _, dir := range []string{"home", "root", "var"} {
		files = append(files, ociimage.File{Path: dir, Mode: os.ModeDir | 0o755})
	}
	for _, a := range applets {
		if a != "sh" && a != "bash" && a != "busybox" {
			files = append(files, ociimage.File{Path: "bin/" + a, Link: "busybox"})
		}
	}
	return ociimage.Recipe{Files: files, Config: v1.Config{Cmd: []string{"sh"}}}, nil
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
