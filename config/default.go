package config

import "time"

// DefaultPasswordEnv is the environment variable that holds the control password
// unless control.password_env names another. It may be unset: no password.
const DefaultPasswordEnv = "MZCANARY_PASSWORD"

// Default is the configuration of an empty file: no deployments, everything else
// as deploy.yaml documents it.
func Default() Config {
	return Config{
		Listen: Listen{Address: "127.0.0.1:6865", TLS: ListenTLS{ClientAuth: ClientAuthNone}},
		Upstream: Upstream{
			Address:     "127.0.0.1:6875",
			Kind:        KindMaterialize,
			TLS:         UpstreamTLS{Mode: TLSVerifyFull},
			DialTimeout: 5 * time.Second,
		},
		Control: Control{
			User:        "mzcanary",
			PasswordEnv: DefaultPasswordEnv,
			Database:    "materialize",
		},
		Limits:   Limits{MaxSessions: 10000, Startup: 30 * time.Second},
		Admin:    Admin{Address: "127.0.0.1:6866"},
		Observe:  Observe{Address: "127.0.0.1:6867"},
		State:    State{Dir: "./mzcanary-state"},
		Log:      Log{Level: LevelInfo, Format: FormatText},
		Shutdown: Shutdown{Drain: 30 * time.Second},
	}
}

// DefaultDeployment is what an entry of deployments holds before its own keys: no
// name and no pairs, everything else as deploy.yaml documents it.
func DefaultDeployment() Deployment {
	return Deployment{
		Database: "materialize",
		Routing: Routing{
			Key:            KeyConnection,
			LiveSessions:   LiveSessionsMove,
			ClientSet:      ClientSetMap,
			QualifiedNames: QualifiedPinStable,
		},
		Rollout: Rollout{
			Plan:    mustPreset("canary-10-5m"),
			Minimum: Minimum{Units: 3, Exchanges: 100},
			Ready: Ready{
				MaxLag:      5 * time.Second,
				Within:      time.Hour,
				Poll:        5 * time.Second,
				Consecutive: 3,
				Probe:       5 * time.Second,
			},
			Judge:          Judge{Alpha: 0.01},
			OnRegress:      RegressRollback,
			OnUndecided:    UndecidedWait,
			OnInsufficient: InsufficientAsk,
			OnRollback:     OnRollback{CancelAfter: 5 * time.Second, EndStreamsAfter: 30 * time.Second},
		},
		Promote: Promote{
			Method:     MethodSwap,
			Fence:      true,
			Gather:     time.Second,
			MaxStall:   5 * time.Second,
			Attempts:   5,
			Patience:   10 * time.Minute,
			Stragglers: StragglersWait,
		},
		Window: Window{For: time.Hour},
		Drain:  Drain{For: 10 * time.Minute, Then: DrainTerminate},
	}
}
