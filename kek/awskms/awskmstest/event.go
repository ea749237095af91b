package awskmstest

import (
	"slices"
	"time"
)

// Event is an entry of the log: what the key's owner would see in CloudTrail,
// and no more of it than is useful in a test. The names are CloudTrail's. Keys
// and ciphertexts are in no event.
type Event struct {
	EventTime time.Time `json:"eventTime"`
	EventName string    `json:"eventName"`
	AWSRegion string    `json:"awsRegion"`
	Principal string    `json:"principal"` // userIdentity.arn
	RequestID string    `json:"requestID"`

	KeyID            string `json:"keyId,omitempty"` // as the request named it
	SourceKeyID      string `json:"sourceKeyId,omitempty"`
	DestinationKeyID string `json:"destinationKeyId,omitempty"`

	EncryptionContext            map[string]string `json:"encryptionContext,omitempty"`
	SourceEncryptionContext      map[string]string `json:"sourceEncryptionContext,omitempty"`
	DestinationEncryptionContext map[string]string `json:"destinationEncryptionContext,omitempty"`

	ErrorCode    string `json:"errorCode,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// Events returns the log of the calls that came to an answer of KMS and whose
// sender is known, oldest first. An answer that a fault spoilt on its way is in
// there as the good one that it was; calls that a fault refused have the fault's
// code; those that it dropped, or let hang, are not in there.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Calls returns how many requests for an operation ("Decrypt") have come in,
// whatever became of them; "" counts all.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if operation != "" {
		return s.calls[operation]
	}
	n := 0
	for _, calls := range s.calls {
		n += calls
	}
	return n
}

// Reset forgets events and counts.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
	clear(s.calls)
}
