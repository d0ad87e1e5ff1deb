package app

import "github.com/prometheus/client_golang/prometheus"

var (
	certificateExpiry = prometheus.NewDesc("mzcanary_tls_certificate_expiry_timestamp_seconds",
		"When what is in use expires: of a chain the first, of authorities the last certificate.", []string{"certificate"}, nil)
	certificateReloads = prometheus.NewDesc("mzcanary_tls_reloads_total",
		"Changes of certificate files, by whether they could be used.", []string{"certificate", "outcome"}, nil)
	certificateFailing = prometheus.NewDesc("mzcanary_tls_reload_failing",
		"1 while the files hold what cannot be used, and an older certificate is in use.", []string{"certificate"}, nil)
)

// Describe implements prometheus.Collector.
func (c *certificates) Describe(ch chan<- *prometheus.Desc) {
	ch <- certificateExpiry
	ch <- certificateReloads
	ch <- certificateFailing
}

// Collect implements prometheus.Collector. It looks at the files first, so that a
// fault shows without a client.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		ch <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(s.until.Unix()), s.name)
		ch <- prometheus.MustNewConstMetric(certificateReloads, prometheus.CounterValue, float64(s.reloaded), s.name, "ok")
		ch <- prometheus.MustNewConstMetric(certificateReloads, prometheus.CounterValue, float64(s.failed), s.name, "failed")
		ch <- prometheus.MustNewConstMetric(certificateFailing, prometheus.GaugeValue, flag(s.failing), s.name)
	}
}
