package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

const admin = `apiVersion: v1
kind: Config
clusters:
  - name: local
    cluster: {server: "https://127.0.0.1:4711", certificate-authority-data: QUJD}
users:
  - name: admin
    user: {client-certificate-data: REVG, client-key-data: R0hJ}
contexts:
  - name: local
    context: {cluster: local, user: admin}
current-context: local
`

const own = `# My clusters.
apiVersion: v1
kind: Config
current-context: prod # never change this
preferences: {colors: true}
clusters:
  - name: prod
    cluster:
      server: https://prod.example # the big one
      x-unknown: 1
users:
  - name: me
    user:
      exec: {command: login, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}
contexts:
  - name: prod
    context: {cluster: prod, user: me}
`

func TestMergeKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second merge changes nothing more
		name, err := Merge(path, []byte(admin), "/data/one")
		if err != nil || name != "studio" {
			t.Fatalf("round %d: context %q, %v", round, name, err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"# My clusters.", "# never change this", "# the big one", "x-unknown: 1", "preferences: {colors: true}", "command: login"} {
		if !strings.Contains(string(raw), kept) {
			t.Errorf("lost %q in\n%s", kept, raw)
		}
	}
	cfg, err := clientcmd.Load(raw)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CurrentContext != "prod" || len(cfg.Clusters) != 2 || len(cfg.AuthInfos) != 2 || len(cfg.Contexts) != 2 {
		t.Errorf("got\n%s", raw)
	}
	if cfg.Clusters["studio"].Server != "https://127.0.0.1:4711" || string(cfg.AuthInfos["studio"].ClientKeyData) != "GHI" || cfg.Contexts["studio"].AuthInfo != "studio" {
		t.Errorf("got\n%s", raw)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := os.Stat(path + ".lock"); err == nil {
		t.Error("the lock was left")
	}
}

func TestMergeIntoNothingSetsNoCurrentContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config")
	if _, err := Merge(path, []byte(admin), "/data/one"); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CurrentContext != "" || cfg.Contexts["studio"] == nil {
		t.Errorf("got %+v", cfg)
	}
}

func TestMergeNeverTakesAnotherClustersName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	foreign := strings.ReplaceAll(own, "prod", "studio")
	if err := os.WriteFile(path, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	name, err := Merge(path, []byte(admin), "/data/one")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Merge(path, []byte(admin), "/data/two")
	if err != nil {
		t.Fatal(err)
	}
	if name == "studio" || again == name || !strings.HasPrefix(name, "studio-") {
		t.Errorf("got the names %q and %q", name, again)
	}
	cfg, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Clusters["studio"].Server != "https://studio.example" || len(cfg.Contexts) != 3 {
		t.Errorf("got %+v", cfg.Clusters)
	}
}

func TestMergeKeepsANamespaceAndALink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "real"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "real"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(link, []byte(admin), "/data/one"); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.LoadFromFile(link)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Contexts["studio"].Namespace = "mine"
	if err := clientcmd.WriteToFile(*cfg, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(link, []byte(admin), "/data/one"); err != nil {
		t.Fatal(err)
	}
	if cfg, err = clientcmd.LoadFromFile(link); err != nil || cfg.Contexts["studio"].Namespace != "mine" {
		t.Errorf("got %+v, %v", cfg, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
}

func TestMergeRefusesWhatItCanNotRead(t *testing.T) {
	for _, bad := range []string{"a: [1\n", "- list\n"} {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Merge(path, []byte(admin), "/data/one"); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%q: %v", bad, err)
		}
		if raw, _ := os.ReadFile(path); string(raw) != bad {
			t.Errorf("%q became %q", bad, raw)
		}
	}
}

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	second := filepath.Join(dir, "second")
	if err := os.WriteFile(second, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{
		"":                                      filepath.Join(dir, ".kube", "config"),
		filepath.Join(dir, "a") + ":" + second:  second,
		filepath.Join(dir, "a") + ":/nowhere/b": filepath.Join(dir, "a"),
	} {
		t.Setenv("KUBECONFIG", env)
		if got, err := Target(); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", env, got, err, want)
		}
	}
}
