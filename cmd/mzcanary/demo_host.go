package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"mzcanary/config"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
)

// The demo's pace; a real controller takes its time.
const (
	demoTick  = 50 * time.Millisecond
	demoWatch = 500 * time.Millisecond
)

// inProcess runs the program in this process, as a test would.
type inProcess struct {
	config  string
	options *demoOptions
	client  *admin.Client
	end     context.CancelFunc
	done    chan error
}

func (h *inProcess) start(ctx context.Context) error {
	cfg, _, err := config.Load(config.LoadOptions{File: h.config, FileRequired: true, Environ: []string{}})
	if err != nil {
		return err
	}
	a, err := app.New(cfg, app.Options{Log: slog.New(slog.DiscardHandler), Tick: demoTick, Watch: demoWatch, Settle: h.options.scaled(3 * time.Second),
		Unsafe: app.Unsafe{NoHold: h.options.unsafe == "no-hold", NoRetarget: h.options.unsafe == "no-retarget"}})
	if err != nil {
		return err
	}
	var run context.Context
	run, h.end = context.WithCancel(context.WithoutCancel(ctx))
	h.done = make(chan error, 1)
	go func() { h.done <- a.Run(run) }()
	return answers(ctx, h.client)
}

func (h *inProcess) stop() error {
	if h.done == nil {
		return nil
	}
	h.end()
	return <-h.done
}

// childHost runs the program as a process of its own, so that it can be killed.
type childHost struct {
	config  string
	options *demoOptions
	client  *admin.Client
	log     io.Writer
	cmd     *exec.Cmd
}

func (h *childHost) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h.cmd = exec.Command(self, "serve", "-c", h.config, "--tick", demoTick.String(), "--watch", demoWatch.String(),
		"--settle", h.options.scaled(3*time.Second).String())
	h.cmd.Env = append(os.Environ(), childEnv+"=1")
	h.cmd.Stderr = h.log
	if err := h.cmd.Start(); err != nil {
		return err
	}
	return answers(ctx, h.client)
}

// childEnv tells a test binary that it is the child; the program ignores it.
const childEnv = "MZCANARY_TEST_CHILD"

// kill ends the child as a crash does: nothing is finished, nothing is undone.
func (h *childHost) kill() error {
	if err := h.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the child: %w", err)
	}
	var killed *exec.ExitError
	if err := h.cmd.Wait(); err != nil && !errors.As(err, &killed) {
		return fmt.Errorf("wait for the killed child: %w", err)
	}
	return nil
}

func (h *childHost) stop() error {
	if h.cmd == nil || h.cmd.ProcessState != nil {
		return nil
	}
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("interrupt the child: %w", err)
	}
	return h.cmd.Wait()
}

// answers waits until the API does.
func answers(ctx context.Context, c *admin.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if _, err := c.Statuses(ctx); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return fmt.Errorf("the API does not answer: %w", err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
