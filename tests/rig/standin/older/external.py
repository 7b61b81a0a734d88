class ExternalEventProcessor:
    """This class makes manual events in Frigate up to 0.15."""
