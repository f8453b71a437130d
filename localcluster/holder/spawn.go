package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/notify"
)

// Options say how to start a holder.
type Options struct {
	Dir datadir.Dir
	// Program, by default this one, must call namespaces.Hook first and Run
	// when it is given Args, by default "holder".
	Program string
	Args    []string
	// Env is added to this process's environment.
	Env []string
	// Share bounds the pods by a control group, where one is to be had; nil makes none.
	Share *machine.Share
}

// Spawn starts a holder that outlives this process, and returns its id here
// once its socket answers. Spawn must not be called while one is running for
// the data directory: client.Status tells.
func Spawn(ctx context.Context, o Options) (int, error) {
	if o.Program == "" {
		exe, err := os.Executable()
		if err != nil {
			return 0, fmt.Errorf("starting the holder: %w", err)
		}
		o.Program = exe
	}
	if o.Args == nil {
		o.Args = []string{"holder"}
	}
	// Chosen here, in the host's network, whose routes decide.
	if _, err := network.Ensure(o.Dir); err != nil {
		return 0, err
	}
	out, err := openOutput(o.Dir)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	told, tell, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("starting the holder: %w", err)
	}
	defer told.Close()
	cmd := exec.Command(o.Program, o.Args...)
	cmd.Env = append(append(os.Environ(), o.Env...), datadir.Env+"="+o.Dir.String(), notify.EnvFD+"=3")
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{tell}
	var groupRead, groupWrite *os.File
	if o.Share != nil {
		if groupRead, groupWrite, err = os.Pipe(); err != nil {
			return 0, fmt.Errorf("starting the holder: %w", err)
		}
		defer groupRead.Close()
		defer groupWrite.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, groupRead)
		cmd.Env = append(cmd.Env, envGroupFD+"=4")
	}
	// A session of its own: no terminal's end reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	_, err = namespaces.Start(cmd)
	tell.Close()
	if err != nil {
		return 0, err
	}
	go cmd.Wait() // Only to leave no zombie while this process lives.
	if o.Share != nil {
		if err := json.NewEncoder(groupWrite).Encode(cgroup.Make(ctx, o.Dir, cmd.Process.Pid, *o.Share)); err != nil {
			cmd.Process.Kill()
			return 0, fmt.Errorf("starting the holder: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { told.Close() })
	defer stop()
	if err := awaitStart(told, out); err != nil {
		cmd.Process.Kill()
		return 0, errors.Join(ctx.Err(), err)
	}
	return cmd.Process.Pid, nil
}

// startOutput is what a holder wrote before it could log: a crash's trace.
const startOutput = "holder-output"

func openOutput(d datadir.Dir) (*os.File, error) {
	f, err := os.OpenFile(d.Log(startOutput), os.O_CREATE|os.O_RDWR|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting the holder: %w", err)
	}
	return f, nil
}

// awaitStart reads the holder's progress until it serves or fails.
func awaitStart(told io.Reader, output *os.File) error {
	var failure string
	started := false
	err := notify.Read(&untilStarted{r: told, started: &started}, func(e localcluster.Event) {
		switch e.State {
		case localcluster.Done:
			started = true
		case localcluster.Failed:
			failure = e.Message
		}
	})
	switch {
	case started:
		return nil
	case failure != "":
		return fmt.Errorf("starting the holder: %s", failure)
	}
	if raw, rerr := os.ReadFile(output.Name()); rerr == nil && len(raw) > 0 {
		text := strings.TrimSpace(string(raw[max(0, len(raw)-2000):]))
		return fmt.Errorf("starting the holder: it ended at once: %s", text)
	}
	return errors.Join(errors.New("starting the holder: it ended at once, without a word"), err)
}

// untilStarted ends the stream once the holder serves; it keeps the other end
// open for its life.
type untilStarted struct {
	r       io.Reader
	started *bool
}

func (u *untilStarted) Read(p []byte) (int, error) {
	if *u.started {
		return 0, io.EOF
	}
	return u.r.Read(p)
}
