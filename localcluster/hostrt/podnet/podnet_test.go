package podnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// innerEnv marks the copy of the test program that runs in namespaces of its
// own, as the node does without root.
const innerEnv = "STUDIO_PODNET_TEST"

// The first thread stays in the node's network, whatever the others enter.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if os.Getenv(innerEnv) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile=") || strings.HasPrefix(a, "-test.gocoverdir=")
	})...)
	cmd.Env = append(os.Environ(), innerEnv+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "running the tests in namespaces:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

var gateway = netip.MustParseAddr("10.244.0.1")

// box is a pod: a network namespace that a process holds.
type box struct {
	t    *testing.T
	name string
	ip   netip.Addr
	pid  int
}

func newNetwork(t *testing.T) *Network {
	t.Helper()
	n := &Network{Gateway: gateway, MTU: 1500}
	if err := n.SetUp(); err != nil {
		t.Fatal(err)
	}
	return n
}

func newBox(t *testing.T, n *Network, name, ip string) *box {
	t.Helper()
	// It ends with this process, however that ends: then nobody holds its input.
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, name: name, ip: netip.MustParseAddr(ip), pid: cmd.Process.Pid}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := n.Detach(name); err != nil {
			t.Error(err)
		}
	})
	if err := n.Attach(name, b.pid, b.ip); err != nil {
		t.Fatal(err)
	}
	return b
}

// inside runs f in the pod's network; the sockets that it opens stay there.
func (b *box) inside(f func()) {
	b.t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		ns, err := netns.GetFromPid(b.pid)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

// serve answers by TCP and UDP with the box's name and who asked.
func (b *box) serve(port int) {
	b.t.Helper()
	var l net.Listener
	var c net.PacketConn
	var err, err2 error
	b.inside(func() {
		l, err = net.Listen("tcp4", fmt.Sprint(":", port))
		c, err2 = net.ListenPacket("udp4", fmt.Sprint(":", port))
	})
	if err := errors.Join(err, err2); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close(); c.Close() })
	answer := func(to net.Addr) []byte {
		host, _, _ := net.SplitHostPort(to.String())
		return []byte(b.name + " " + host)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write(answer(conn.RemoteAddr()))
			conn.Close()
		}
	}()
	go func() {
		buffer := make([]byte, 10)
		for {
			_, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			c.WriteTo(answer(from), from)
		}
	}()
}

// ask dials from this process's network.
func ask(d net.Dialer, network, address string) string {
	d.Timeout = time.Second
	c, err := d.Dial(network, address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if network == "udp" {
		c.Write([]byte("x"))
		buffer := make([]byte, 100)
		n, err := c.Read(buffer)
		if err != nil {
			return err.Error()
		}
		return string(buffer[:n])
	}
	raw, _ := io.ReadAll(c)
	return string(raw)
}

func (b *box) ask(network, address string) (answer string) {
	b.t.Helper()
	b.inside(func() { answer = ask(net.Dialer{}, network, address) })
	return answer
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	n := newNetwork(t)
	a, b := newBox(t, n, "a", "10.244.0.5"), newBox(t, n, "b", "10.244.0.6")
	a.serve(80)
	b.serve(80)
	node := &box{t: t, name: "node", pid: os.Getpid()}
	node.serve(81)
	for _, network := range []string{"tcp", "udp"} {
		for what, got := range map[string][2]string{
			"a to b":      {a.ask(network, "10.244.0.6:80"), "b 10.244.0.5"},
			"b to a":      {b.ask(network, "10.244.0.5:80"), "a 10.244.0.6"},
			"a to itself": {a.ask(network, "10.244.0.5:80"), "a 10.244.0.5"},
			"node to a":   {ask(net.Dialer{}, network, "10.244.0.5:80"), "a 10.244.0.1"},
			"a to node":   {a.ask(network, "10.244.0.1:81"), "node 10.244.0.5"},
		} {
			if got[0] != got[1] {
				t.Errorf("%s, %s: %q, want %q", what, network, got[0], got[1])
			}
		}
	}
	if got := a.ask("tcp", "10.244.0.9:80"); !strings.Contains(got, "unreachable") && !strings.Contains(got, "no route") {
		t.Errorf("an address without a pod: %q", got)
	}
}

// A pod that is gone leaves neither link nor route, and its address can be
// another's at once.
func TestDetach(t *testing.T) {
	n := newNetwork(t)
	old := newBox(t, n, "old", "10.244.0.7")
	if err := n.Detach(old.name); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName(LinkName(old.name)); err == nil {
		t.Error("its link is still there")
	}
	if err := n.Detach(old.name); err != nil {
		t.Errorf("a second time: %v", err)
	}
	next := newBox(t, n, "next", "10.244.0.7")
	next.serve(80)
	if got := ask(net.Dialer{}, "tcp", "10.244.0.7:80"); got != "next 10.244.0.1" {
		t.Errorf("its successor: %q", got)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: host(next.ip)}, netlink.RT_FILTER_DST)
	if err != nil || len(routes) != 1 {
		t.Errorf("routes to the address: %v %v", routes, err)
	}
}

func TestHostPorts(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal("the program nft is missing; hack/setup installs it")
	}
	n := newNetwork(t)
	a, b := newBox(t, n, "a", "10.244.0.5"), newBox(t, n, "b", "10.244.0.6")
	a.serve(8080)
	b.serve(8080)
	ctx := t.Context()
	loopback := netip.MustParseAddr("127.0.0.1")
	ports := &HostPorts{}
	open := func(b *box, mappings ...Mapping) {
		t.Helper()
		for i := range mappings {
			mappings[i].PodIP, mappings[i].PodPort = b.ip, 8080
		}
		if err := ports.Open(ctx, b.name, mappings); err != nil {
			t.Fatal(err)
		}
	}
	// What reached no pod before is no reason to miss the next.
	if got := ask(net.Dialer{}, "udp", "10.244.0.1:90"); !strings.Contains(got, "refused") {
		t.Fatalf("before: %q", got)
	}
	open(a, Mapping{Protocol: "tcp", HostPort: 90}, Mapping{Protocol: "udp", HostPort: 90})
	open(b, Mapping{Protocol: "tcp", HostPort: 90, HostIP: loopback}, Mapping{Protocol: "tcp", HostPort: 91})
	fromNode := net.Dialer{LocalAddr: &net.TCPAddr{IP: gateway.AsSlice()}}
	for what, got := range map[string][2]string{
		"a pod":                    {b.ask("tcp", "10.244.0.1:90"), "a 10.244.0.6"},
		"a pod, udp":               {b.ask("udp", "10.244.0.1:90"), "a 10.244.0.6"},
		"the node":                 {ask(net.Dialer{}, "tcp", "10.244.0.1:90"), "a 10.244.0.1"},
		"the node, udp":            {ask(net.Dialer{}, "udp", "10.244.0.1:90"), "a 10.244.0.1"},
		"the pod itself":           {a.ask("tcp", "10.244.0.1:90"), "a 10.244.0.1"},
		"the pod itself, udp":      {a.ask("udp", "10.244.0.1:90"), "a 10.244.0.1"},
		"one address":              {ask(fromNode, "tcp", "127.0.0.1:90"), "b 10.244.0.1"},
		"another port":             {a.ask("tcp", "10.244.0.1:91"), "b 10.244.0.5"},
		"a pod's own port 90":      {b.ask("tcp", "10.244.0.5:90"), "connection refused"},
		"a port that is not there": {b.ask("tcp", "10.244.0.1:92"), "connection refused"},
	} {
		if !strings.HasSuffix(got[0], got[1]) {
			t.Errorf("%s: %q, want %q", what, got[0], got[1])
		}
	}
	if err := ports.Close(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := b.ask("tcp", "10.244.0.1:90"); !strings.Contains(got, "refused") {
		t.Errorf("after its end: %q", got)
	}
	if got := a.ask("tcp", "10.244.0.1:91"); got != "b 10.244.0.5" {
		t.Errorf("the other pod's port after it: %q", got)
	}
	// Another life of the node half knows which pods are left: none.
	next := &HostPorts{}
	if err := next.Write(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), table) {
		t.Errorf("the table is left: %s %v", out, err)
	}
}
